// Changing parts of a page: its own address with `live=1` is fetched again, and what differs is put in place. Where a
// live log is open, it tells of a new state at once.
// Rows stay where they are; new ones are announced, not inserted under the pointer.

import { announce } from './say.js';

const SLOWEST = 30000;

function address() {
  const url = new URL(location.href);
  url.searchParams.set('live', '1');
  url.hash = '';
  return url;
}

async function load() {
  const response = await fetch(address(), { headers: { Accept: 'text/html' }, credentials: 'same-origin' });
  if (response.redirected) {
    location.reload();
    return null;
  }
  if (!response.ok) throw new Error(`status ${response.status}`);
  return new DOMParser().parseFromString(await response.text(), 'text/html');
}

// Two versions of a part are the same when they differ in nothing but clocks, which run by themselves.
function still(element) {
  const copy = element.cloneNode(true);
  for (const clock of copy.querySelectorAll('time[data-since]')) clock.textContent = '';
  return copy.outerHTML;
}

function swap(current, fresh) {
  const selection = getSelection();
  const selected = selection && !selection.isCollapsed && current.contains(selection.anchorNode);
  if (selected || still(current) === still(fresh)) return;
  if (current.dataset.state && current.dataset.state !== fresh.dataset.state) tellState(fresh);
  const held = current.contains(document.activeElement) ? document.activeElement : null;
  const next = document.importNode(fresh, true);
  current.replaceWith(next);
  if (held) (next.querySelector(`[data-dialog="${held.dataset.dialog}"]`) ?? next.querySelector('a, button'))?.focus();
}

function tellState(fresh) {
  const name = fresh.querySelector('h1, a.k')?.textContent.trim() ?? '';
  announce(`${name}: ${fresh.dataset.state}`);
}

function tellNewer(fresh) {
  const shown = document.querySelector('[data-newest]');
  const known = fresh.querySelector('[data-newest]');
  const link = document.querySelector('[data-newer]');
  if (!shown || !known || !link) return;
  const count = Number(known.dataset.newest) - Number(shown.dataset.newest);
  link.hidden = count <= 0;
  link.textContent = count === 1 ? 'Show 1 new execution' : `Show ${count} new executions`;
  link.href = location.pathname + location.search;
}

function word(text) {
  const element = document.querySelector('[data-live-word]');
  if (element) element.textContent = text;
}

function apply(fresh) {
  for (const part of fresh.querySelectorAll('[data-live][id]')) {
    const current = document.getElementById(part.id);
    if (current) swap(current, part);
  }
  tellNewer(fresh);
}

const interval = () => Number(document.querySelector('[data-refresh]')?.dataset.refresh ?? 0);

async function refresh(failures) {
  if (document.hidden) return failures;
  try {
    const fresh = await load();
    if (fresh) apply(fresh);
    word('Live: states change by themselves');
    return 0;
  } catch {
    word('The server does not answer; these states may be old');
    return failures + 1;
  }
}

function follow(failures = 0) {
  const pause = interval();
  if (!pause) return;
  setTimeout(async () => follow(await refresh(failures)), Math.min(SLOWEST, pause * 2 ** failures));
}

async function waitForFirst(pause) {
  try {
    const fresh = await load();
    const first = fresh?.querySelector('tbody a.k');
    if (first) {
      location.assign(new URL(first.getAttribute('href'), location.href));
      return;
    }
  } catch {
    // The next round asks again.
  }
  setTimeout(() => waitForFirst(pause), pause);
}

addEventListener('remora:state', ({ detail }) => {
  const shown = document.querySelector('[data-live][data-state]');
  if (shown && shown.dataset.state !== detail) refresh(0);
});
document.addEventListener('visibilitychange', () => { if (!document.hidden && interval()) refresh(0); });
follow();
const waiting = document.querySelector('[data-wait-first]');
if (waiting) waitForFirst(Number(waiting.dataset.waitFirst));

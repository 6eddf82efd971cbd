// What every page has: theme, copying, dialogs, keys, clocks. Nothing here writes HTML from text.

import { announce, asClock, asWords } from './say.js';

const YEAR = 31536000;
const TYPING = 'input, textarea, select, [contenteditable]';

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  const secure = location.protocol === 'https:' ? '; Secure' : '';
  document.cookie = `remora_theme=${root.dataset.theme}; Path=/; Max-Age=${YEAR}; SameSite=Lax${secure}`;
}

async function copy(button) {
  const word = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = 'Copied';
    announce('Copied');
  } catch {
    const code = button.parentElement.querySelector('code');
    if (code) getSelection().selectAllChildren(code);
    button.textContent = 'Selected';
  }
  setTimeout(() => { button.textContent = word; }, 1500);
}

function openDialog(event, opener) {
  const dialog = document.getElementById(opener.dataset.dialog);
  if (!dialog) return;
  event.preventDefault();
  dialog.showModal();
}

function onClick(event) {
  const target = event.target.closest('[data-theme-toggle], [data-copy], [data-dialog], [data-help]');
  if (!target) return;
  if ('themeToggle' in target.dataset) toggleTheme();
  else if ('copy' in target.dataset) copy(target);
  else if ('help' in target.dataset) document.getElementById('help')?.showModal();
  else openDialog(event, target);
}

let pending = '';
let pendingTimer = 0;

function go(key) {
  const link = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
  if (link) location.assign(link.href);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest(TYPING)) return;
  if (document.querySelector('dialog[open]')) return;
  if (pending === 'g') {
    pending = '';
    go(event.key);
    return;
  }
  if (event.key === 'g') {
    pending = 'g';
    clearTimeout(pendingTimer);
    pendingTimer = setTimeout(() => { pending = ''; }, 1500);
  } else if (event.key === '/') {
    const field = document.querySelector('[data-find]');
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  } else if (event.key === '?') {
    document.getElementById('help')?.showModal();
  }
}

function tick() {
  for (const clock of document.querySelectorAll('time[data-since]')) {
    const seconds = (Date.now() - Date.parse(clock.dataset.since)) / 1000;
    clock.textContent = 'words' in clock.dataset ? `${asWords(seconds)} so far` : asClock(seconds);
  }
}

document.addEventListener('click', onClick);
document.addEventListener('keydown', onKey);
document.addEventListener('change', (event) => {
  const field = event.target.closest('[data-submit]');
  if (field) field.form.requestSubmit();
});
setInterval(tick, 1000);

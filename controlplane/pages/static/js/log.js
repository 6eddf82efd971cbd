// The live log: a bounded window of lines over a log of any length. The newest lines come as a stream; older ones are
// fetched when somebody scrolls there; what leaves the window leaves the document too.

import { Feed } from './feed.js';
import { LineList } from './lines.js';
import { announce } from './say.js';

const EDGE = 300;
const HASH = /^#L(?:(\d+)-)?(\d+)$/;

class LogView {
  constructor(root) {
    this.root = root;
    this.lines = new LineList(this.part('body'));
    this.feed = new Feed(root.dataset, this);
    this.attempt = 0;
    this.following = true;
    this.atEnd = true;
    this.unseen = 0;
    this.loading = false;
    this.queue = [];
  }

  part(name) {
    return this.root.querySelector(`[data-log-${name}]`);
  }

  async start() {
    this.part('body').addEventListener('scroll', () => this.onScroll(), { passive: true });
    this.part('body').addEventListener('keydown', (event) => this.onKey(event));
    this.part('body').addEventListener('click', (event) => this.onClick(event));
    this.part('follow').addEventListener('click', () => this.follow());
    this.part('wrap').addEventListener('click', (event) => this.wrap(event.currentTarget));
    this.part('search').addEventListener('input', () => this.search());
    this.part('search').addEventListener('keydown', (event) => { if (event.key === 'Enter') { event.preventDefault(); this.step(event.shiftKey ? -1 : 1); } });
    this.part('previous').addEventListener('click', () => this.step(-1));
    this.part('next').addEventListener('click', () => this.step(1));
    this.part('attempt').addEventListener('change', (event) => this.open(Number(event.target.value)));
    addEventListener('hashchange', () => this.toHash());
    await this.open(null, location.hash.match(HASH));
  }

  // ---- opening ------------------------------------------------------------------------------------
  async open(attempt, hash = null) {
    this.feed.stop();
    const wanted = hash ? { attempt: hash[1] ?? 1, after: Math.max(0, Number(hash[2]) - 200) } : { attempt };
    let found;
    try {
      found = await this.feed.window(wanted);
    } catch {
      this.note('The log can\u2019t be read now. Trying again in 5 s.');
      setTimeout(() => this.open(attempt, hash), 5000);
      return;
    }
    this.note('');
    this.attempt = found.attempt;
    this.showAttempts(found);
    this.lines.reset(found.attempt, found.lines);
    this.atEnd = !found.more;
    this.setFollowing(!hash);
    this.changed(found);
    if (hash) this.lines.point(Number(hash[2]));
    else this.toBottom();
    const newest = found.attempts.at(-1) ?? found.attempt;
    // Who reads in the middle is told of the newest lines; those between come when somebody scrolls there.
    const last = found.more ? 0 : this.lines.last;
    if (found.attempt === newest && (!found.over || !found.complete)) this.feed.connect(this.attempt, last, found.over);
  }

  showAttempts({ attempts, attempt }) {
    const select = this.part('attempt');
    select.hidden = attempts.length < 2;
    select.replaceChildren(...attempts.map((number) => new Option(`Attempt ${number}`, number, false, number === attempt)));
  }

  // ---- what the feed tells ------------------------------------------------------------------------
  onLines(lines) {
    this.queue.push(...lines);
    if (this.queue.length > 2 * this.lines.most) {
      this.queue.splice(0, this.queue.length - this.lines.most);
      this.skipped = true;
    }
    this.timer ??= setTimeout(() => this.flush(), 40);
  }

  onGap({ first, last, reason }) {
    this.onLines([[first, '', 'gap', `Lines ${first} to ${last} never arrived${reason ? `: ${reason}` : ''}.`, last]]);
  }

  onAttempt(number) {
    if (number !== this.attempt) this.open(null);
  }

  onEnd() {
    this.note('');
    announce('The log is complete');
    this.changed({ over: true });
  }

  note(text) {
    const note = this.part('note');
    note.textContent = text;
    note.hidden = !text;
  }

  flush() {
    this.timer = undefined;
    const fresh = this.queue.filter((line) => line[0] > this.lines.last);
    this.queue = [];
    if (!fresh.length) return;
    const room = this.lines.most - this.lines.count;
    const skipped = this.skipped || fresh.length > this.lines.most;
    this.skipped = false;
    if (!this.following && (!this.atEnd || skipped || fresh.length > room)) {
      this.atEnd = false;
      this.unseen += fresh.length;
    } else if (skipped) {
      this.lines.reset(this.attempt, fresh);
      this.toBottom();
    } else {
      this.lines.append(fresh);
      if (this.following) this.toBottom();
      else this.unseen += fresh.length;
    }
    this.changed({});
  }

  // ---- scrolling ----------------------------------------------------------------------------------
  toBottom() {
    const body = this.part('body');
    this.own = true;
    body.scrollTop = body.scrollHeight;
    requestAnimationFrame(() => { this.own = false; });
  }

  onScroll() {
    const body = this.part('body');
    const below = body.scrollHeight - body.scrollTop - body.clientHeight;
    if (!this.own && below > 24 && this.following) this.setFollowing(false);
    if (below <= 2 && this.atEnd && !this.following) this.setFollowing(true);
    if (body.scrollTop < EDGE && this.lines.first > 1) this.more('before');
    else if (below < EDGE && !this.atEnd) this.more('after');
  }

  async more(where) {
    if (this.loading) return;
    this.loading = true;
    try {
      const number = where === 'before' ? this.lines.first : this.lines.last;
      const found = await this.feed.window({ attempt: this.attempt, [where]: number });
      if (where === 'before') {
        if (this.lines.prepend(found.lines)) this.atEnd = false;
      } else {
        this.lines.append(found.lines, true);
        this.atEnd = !found.more;
        if (this.atEnd) this.unseen = 0;
      }
      this.changed({});
    } catch {
      this.note('Older lines can\u2019t be read now; scroll again to try once more.');
    } finally {
      this.loading = false;
    }
  }

  async follow() {
    if (this.following) {
      this.setFollowing(false);
      return;
    }
    if (!this.atEnd) {
      const found = await this.feed.window({ attempt: this.attempt });
      this.lines.reset(this.attempt, found.lines);
      this.atEnd = true;
    }
    this.setFollowing(true);
    this.changed({});
    this.toBottom();
  }

  setFollowing(on) {
    this.following = on;
    if (on) this.unseen = 0;
    this.changed({});
  }

  changed({ over }) {
    if (over !== undefined) this.over = over;
    const button = this.part('follow');
    const word = this.over ? 'End' : 'Following';
    const paused = this.unseen ? `Paused, ${this.unseen.toLocaleString('en')} new` : this.over ? 'To the end' : 'Paused';
    button.hidden = (this.over && this.following) || !this.lines.count;
    button.setAttribute('aria-pressed', String(this.following));
    button.lastElementChild.textContent = this.following ? word : paused;
    const range = this.part('range');
    range.textContent = this.lines.count ? `Lines ${this.lines.first.toLocaleString('en')}\u2013${this.lines.last.toLocaleString('en')}` : '';
    this.lines.blank(this.over ? 'It printed nothing.' : 'Nothing printed yet. Lines come here as they are printed.');
    this.showHits();
  }

  // ---- searching, wrapping, lines -------------------------------------------------------------------
  search() {
    this.lines.find(this.part('search').value);
    this.showHits();
  }

  showHits() {
    const wanted = this.part('search').value;
    const hits = wanted ? this.lines.hits() : [];
    this.part('steps').hidden = !hits.length;
    const at = hits.findIndex((mark) => mark.classList.contains('on'));
    const count = `${hits.length.toLocaleString('en')} ${hits.length === 1 ? 'hit' : 'hits'}`;
    this.part('hits').textContent = !wanted ? '' : at < 0 ? count : `${at + 1} of ${count}`;
  }

  step(by) {
    const hits = this.lines.hits();
    if (!hits.length) return;
    const at = hits.findIndex((mark) => mark.classList.contains('on'));
    hits[at]?.classList.remove('on');
    const next = at < 0 ? (by > 0 ? 0 : hits.length - 1) : (at + by + hits.length) % hits.length;
    hits[next].classList.add('on');
    this.setFollowing(false);
    hits[next].scrollIntoView({ block: 'center', inline: 'nearest' });
    this.showHits();
  }

  wrap(button) {
    const on = this.part('body').classList.toggle('wrap');
    button.setAttribute('aria-pressed', String(on));
    if (this.following) this.toBottom();
  }

  toHash(scroll = true) {
    const hash = location.hash.match(HASH);
    if (!hash) return;
    const here = Number(hash[1] ?? 1) === this.attempt && this.lines.has(Number(hash[2]));
    if (here) {
      this.setFollowing(false);
      this.lines.point(Number(hash[2]), scroll);
    } else this.open(null, hash);
  }

  // The address changes, but the focus stays on the line: a browser's own jump would take it away.
  onClick(event) {
    const link = event.target.closest('a');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    history.pushState(null, '', link.hash);
    this.toHash(false);
    link.focus({ preventScroll: true });
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      this.setFollowing(false);
      this.lines.move(event.key === 'ArrowDown' ? 1 : -1);
    } else if (event.key === 'l' || event.key === 'L') this.copyLink();
    else if (event.key === 'End') this.following || this.follow();
  }

  async copyLink() {
    const link = document.activeElement.closest?.('.log-body a');
    if (!link) return;
    try {
      await navigator.clipboard.writeText(link.href);
      announce(`Link to line ${link.textContent} copied`);
    } catch {
      location.hash = link.hash;
    }
  }
}

for (const root of document.querySelectorAll('[data-log]')) new LogView(root).start();

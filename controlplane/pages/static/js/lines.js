// The lines that stand in the document: at most `most` of them, in order, each built from text nodes only.

import { pieces } from './ansi.js';

const MOST = 3000;

function isMetadata(stream, message) {
  if (stream !== 'stdout' || !message.startsWith('{') || !message.trimEnd().endsWith('}')) return false;
  try {
    return typeof JSON.parse(message) === 'object';
  } catch {
    return false;
  }
}

function marked(text, wanted) {
  if (!wanted) return [document.createTextNode(text)];
  const nodes = [];
  const lower = text.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0 && lower.length === text.length; at = lower.indexOf(wanted, from)) {
    if (at > from) nodes.push(document.createTextNode(text.slice(from, at)));
    const mark = document.createElement('mark');
    mark.textContent = text.slice(at, at + wanted.length);
    nodes.push(mark);
    from = at + wanted.length;
  }
  if (from < text.length) nodes.push(document.createTextNode(text.slice(from)));
  return nodes;
}

function message(text, wanted) {
  const holder = document.createElement('span');
  for (const piece of pieces(text)) {
    if (!piece.class) {
      holder.append(...marked(piece.text, wanted));
      continue;
    }
    const span = document.createElement('span');
    span.className = piece.class;
    span.append(...marked(piece.text, wanted));
    holder.append(span);
  }
  return holder;
}

export class LineList {
  constructor(body) {
    this.body = body;
    this.most = MOST;
    this.wanted = '';
    this.attempt = 1;
    this.items = [];
    this.empty = null;
  }

  get count() { return this.items.length; }

  get first() { return this.items[0]?.line[0] ?? 1; }

  get last() {
    const item = this.items[this.items.length - 1];
    return item ? item.line[4] ?? item.line[0] : 0;
  }

  reset(attempt, lines) {
    this.attempt = attempt;
    this.items = [];
    this.body.replaceChildren();
    this.empty = null;
    this.append(lines);
  }

  blank(text) {
    if (this.count) {
      this.empty?.remove();
      this.empty = null;
      return;
    }
    this.empty ??= this.body.appendChild(document.createElement('li'));
    this.empty.className = 'blank';
    this.empty.textContent = text;
  }

  // `keep`: the reader is looking at these lines, so what is cut off above must not move them.
  append(lines, keep = false) {
    const fresh = this.whole(lines.slice(-this.most));
    const nodes = fresh.map((line) => this.build(line));
    this.empty?.remove();
    this.empty = null;
    this.items.push(...nodes);
    this.body.append(...nodes.map((item) => item.node));
    this.cut(this.items.splice(0, Math.max(0, this.items.length - this.most)), keep);
  }

  // Returns whether lines at the other end were given up.
  prepend(lines) {
    const nodes = lines.filter((line) => line[0] < this.first).map((line) => this.build(line));
    const before = this.body.scrollHeight;
    this.body.prepend(...nodes.map((item) => item.node));
    this.body.scrollTop += this.body.scrollHeight - before;
    this.items.unshift(...nodes);
    const gone = this.items.splice(this.most);
    for (const item of gone) item.node.remove();
    return gone.length > 0;
  }

  cut(items, keep) {
    if (!items.length) return;
    const before = this.body.scrollHeight;
    for (const item of items) item.node.remove();
    if (keep) this.body.scrollTop -= before - this.body.scrollHeight;
  }

  // Numbers that are missing between two lines are shown as a gap.
  whole(lines) {
    const found = [];
    let last = this.last;
    for (const line of lines) {
      const seq = line[0];
      if (seq <= last && found.length + this.count) continue;
      if (last && seq > last + 1) found.push([last + 1, '', 'gap', `Lines ${last + 1} to ${seq - 1} are not here.`, seq - 1]);
      found.push(line);
      last = line[4] ?? seq;
    }
    return found;
  }

  name(seq) {
    return this.attempt > 1 ? `L${this.attempt}-${seq}` : `L${seq}`;
  }

  build(line) {
    const [seq, time, stream, text] = line;
    const node = document.createElement('li');
    if (stream === 'gap') {
      node.className = 'gap';
      node.append(Object.assign(document.createElement('span'), { textContent: text }));
      return { line, node };
    }
    node.id = this.name(seq);
    const link = Object.assign(document.createElement('a'), { href: `#${node.id}`, textContent: String(seq), tabIndex: -1 });
    link.setAttribute('aria-label', `Line ${seq}`);
    const clock = Object.assign(document.createElement('time'), { textContent: String(time).slice(11, 19), title: `${String(time).replace('T', ' ')} UTC` });
    node.append(link, clock, message(String(text), this.wanted));
    if (stream === 'stderr') node.className = 'err';
    else if (stream === 'status') node.className = 'status';
    else if (isMetadata(stream, String(text))) node.className = 'meta';
    return { line, node };
  }

  find(wanted) {
    this.wanted = wanted.toLowerCase();
    for (const item of this.items) {
      if (item.line[2] !== 'gap') item.node.lastElementChild.replaceWith(message(String(item.line[3]), this.wanted));
    }
  }

  hits() {
    return [...this.body.querySelectorAll('mark')];
  }

  has(seq) {
    return seq >= this.first && seq <= this.last;
  }

  point(seq, scroll = true) {
    this.body.querySelector('.here')?.classList.remove('here');
    const node = document.getElementById(this.name(seq));
    if (!node) return;
    node.classList.add('here');
    if (scroll) this.body.scrollTop = node.offsetTop - this.body.offsetTop - this.body.clientHeight / 2;
  }

  move(by) {
    const nodes = this.body.children;
    const current = document.activeElement.closest?.('.log-body li');
    const at = current ? [...nodes].indexOf(current) + by : by > 0 ? 0 : nodes.length - 1;
    nodes[Math.max(0, Math.min(nodes.length - 1, at))]?.querySelector('a')?.focus();
  }
}

// A line of a log as pieces of text with classes. Colours and weight (SGR) are understood; every other control
// sequence (cursor, links, titles, clipboard) is dropped, so that text can't leave its line.

const LONGEST = 20000;
const MOST_PIECES = 500;
// Direction overrides would turn what stands beside them around; they are shown as a mark instead.
const CONTROL = new RegExp([
  '\\x1b\\[([0-9;:]{0,64})m',
  '\\x1b\\[[0-?]*[ -/]*[@-~]?',
  '\\x1b\\][^\\x07\\x1b]*(?:\\x07|\\x1b\\\\)?',
  '\\x1b[PX^_][^\\x1b]*(?:\\x1b\\\\)?',
  '\\x1b[ -/]*[0-~]?',
  '([\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069])',
  '[\\x00-\\x08\\x0a-\\x1f\\x7f-\\x9f]',
].join('|'), 'g');

function colour(code) {
  const bright = code >= 90 ? code - 90 : code - 30;
  return bright >= 1 && bright <= 7 ? `a${bright}` : '';
}

function extended(codes, at) {
  if (codes[at + 1] === 5) {
    const index = codes[at + 2];
    return { skip: 2, class: index > 0 && index < 16 && index !== 8 ? `a${index % 8}` : '' };
  }
  return { skip: codes[at + 1] === 2 ? 4 : 0, class: '' };
}

function style(state, parameters) {
  const codes = parameters.split(/[;:]/).map((code) => Number(code) || 0);
  let { ink, bold, dim } = state;
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    if (code === 0) { ink = ''; bold = false; dim = false; }
    else if (code === 1) bold = true;
    else if (code === 2) dim = true;
    else if (code === 22) { bold = false; dim = false; }
    else if (code === 39) ink = '';
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) ink = colour(code);
    else if (code === 38 || code === 48) {
      const found = extended(codes, at);
      if (code === 38) ink = found.class;
      at += found.skip;
    }
  }
  return { ink, bold, dim };
}

const classes = ({ ink, bold, dim }) => [ink, bold ? 'ab' : '', dim ? 'ad' : ''].filter(Boolean).join(' ');

// What a terminal would leave standing of a line that returns to its start: the last part that isn't empty.
function afterReturns(text) {
  const parts = text.split('\r');
  for (let at = parts.length - 1; at > 0; at -= 1) if (parts[at]) return parts[at];
  return parts[0];
}

function shorten(message) {
  if (message.length <= LONGEST) return { text: message, rest: 0 };
  return { text: message.slice(0, LONGEST), rest: message.length - LONGEST };
}

// [{text, class}]; `rest` pieces of a huge line are named, not shown.
export function pieces(message) {
  const { text: whole, rest } = shorten(afterReturns(message));
  const found = [];
  let state = { ink: '', bold: false, dim: false };
  let from = 0;
  const push = (text) => {
    if (!text) return;
    const name = found.length < MOST_PIECES ? classes(state) : '';
    const last = found[found.length - 1];
    if (last && last.class === name) last.text += text;
    else found.push({ text, class: name });
  };
  for (const match of whole.matchAll(CONTROL)) {
    push(whole.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[1] !== undefined) state = style(state, match[1]);
    else if (match[2]) push('\ufffd');
  }
  push(whole.slice(from));
  if (rest) found.push({ text: ` … ${rest.toLocaleString('en')} more characters, in the download`, class: 'ad' });
  return found;
}

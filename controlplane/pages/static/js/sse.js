// Server-Sent Events by fetch, because a ticket in a header never stands in an address.

export class StreamError extends Error {
  constructor(status) {
    super(`status ${status}`);
    this.status = status;
  }
}

function* events(block) {
  let name = 'message';
  let id = null;
  const data = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon === 0) continue;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') name = value;
    else if (field === 'data') data.push(value);
    else if (field === 'id') id = value;
  }
  if (data.length || name !== 'message') yield { name, id, data: data.join('\n') };
}

// Calls `onEvent({name, id, data})` until the stream ends; throws StreamError for a refusal, TypeError for the network.
export async function listen(url, headers, signal, onEvent) {
  const response = await fetch(url, {
    headers: { Accept: 'text/event-stream', ...headers }, signal, credentials: 'same-origin', cache: 'no-store',
  });
  if (!response.ok || !response.body) throw new StreamError(response.status);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value.replace(/\r\n?/g, '\n')).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) for (const event of events(block)) onEvent(event);
  }
}

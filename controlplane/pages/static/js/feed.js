// Where lines come from: windows of the stored log by JSON, the newest by the stream. While there is no stream, the
// stored log is asked again and again.

import { listen, StreamError } from './sse.js';

const PAUSES = [1, 2, 4, 8, 10];
const POLL = 1500;
// A stream that is full or away is tried again after so many polls.
const POLLS = 20;
const clock = () => new Date().toISOString().slice(11, 19);

export class Feed {
  constructor({ window: address, ticket, stream }, view) {
    this.address = address;
    this.ticketAddress = ticket;
    this.streamAddress = stream;
    this.view = view;
    this.running = 0;
  }

  async window(query) {
    const url = new URL(this.address, location.href);
    for (const [name, value] of Object.entries(query)) {
      if (value !== null && value !== undefined) url.searchParams.set(name, value);
    }
    const response = await fetch(url, { headers: { Accept: 'application/json' }, credentials: 'same-origin' });
    if (!response.ok || response.redirected) throw new StreamError(response.status);
    return response.json();
  }

  stop() {
    this.abort?.abort();
    this.running += 1;
  }

  // Follows from line `last` of `attempt` on, until the end; a newer call replaces an older one.
  async connect(attempt, last, over) {
    this.stop();
    this.abort = new AbortController();
    const own = this.running;
    this.attempt = attempt;
    this.last = last;
    this.ended = false;
    let failures = 0;
    while (own === this.running && !this.ended) {
      try {
        await this.listen();
        if (this.ended) return;
        failures = 0;
        if (this.again) continue;
      } catch (error) {
        if (own !== this.running) return;
        if (error instanceof StreamError && [401, 403].includes(error.status)) return this.view.note('You were logged out. Load the page again to go on.');
        if (error instanceof StreamError && [404, 405, 501].includes(error.status)) return this.poll(own, over, Infinity);
        if (error instanceof StreamError && [502, 503].includes(error.status)) {
          await this.poll(own, over, POLLS);
          continue;
        }
        failures += 1;
      }
      const pause = PAUSES[Math.min(failures, PAUSES.length - 1)];
      this.view.note(`The connection broke at ${clock()} UTC. Trying again in ${pause} s; nothing is lost.`);
      await new Promise((resolve) => { setTimeout(resolve, pause * 1000); });
    }
  }

  async listen() {
    this.again = false;
    const response = await fetch(this.ticketAddress, {
      method: 'POST', headers: { 'X-CSRF-Token': document.body.dataset.csrf ?? '' }, credentials: 'same-origin',
    });
    if (!response.ok) throw new StreamError(response.status);
    const { ticket } = await response.json();
    const headers = { Authorization: `Ticket ${ticket}` };
    if (this.attempt && this.last) headers['Last-Event-ID'] = `${this.attempt}:${this.last}`;
    try {
      await listen(this.streamAddress, headers, this.abort.signal, (event) => this.onEvent(event));
    } catch (error) {
      // The ticket was too old when it came there: the next one will not be.
      if (error instanceof StreamError && error.status === 401) throw new StreamError(0);
      throw error;
    }
  }

  onEvent({ name, id, data }) {
    this.view.note('');
    const [attempt, seq] = (id ?? '').split(':').map(Number);
    if (attempt && attempt !== this.attempt) {
      this.ended = true;
      this.view.onAttempt(attempt);
      return;
    }
    if (seq) this.last = seq;
    if (name === 'line') this.view.onLines(JSON.parse(data));
    else if (name === 'gap') this.view.onGap(JSON.parse(data));
    else if (name === 'state') dispatchEvent(new CustomEvent('remora:state', { detail: JSON.parse(data).state }));
    else if (name === 'again') this.again = true;
    else if (name === 'end') {
      this.ended = true;
      this.view.onEnd();
    }
  }

  async poll(own, over, rounds) {
    let finished = over;
    for (let round = 0; round < rounds && own === this.running; round += 1) {
      try {
        const found = await this.window({ attempt: this.attempt || null, after: this.last || null });
        this.view.note('');
        if (found.attempts.length && found.attempts.at(-1) !== this.attempt) {
          this.ended = true;
          return this.view.onAttempt(found.attempts.at(-1));
        }
        if (found.lines.length) {
          this.view.onLines(found.lines);
          this.last = found.lines.at(-1)[0];
          if (found.more) continue;
        }
        if (found.over && (found.complete || finished)) {
          this.ended = true;
          return this.view.onEnd();
        }
        finished = found.over;
      } catch {
        this.view.note(`The server does not answer since ${clock()} UTC; nothing is lost.`);
      }
      await new Promise((resolve) => { setTimeout(resolve, POLL); });
    }
  }
}

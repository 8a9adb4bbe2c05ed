// Viewer events: gathered, sent in batches, sent again with the same ids until the server has them on disk.

const SCHEMA = "viewer-event/1.0";
const EVERY_MS = 5000;
const BATCH = 100;
const KEPT = 2000;

export function uuid7() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const now = Date.now();
  for (let i = 0; i < 6; i++) bytes[i] = Math.floor(now / 2 ** (8 * (5 - i))) & 0xff;
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

class Telemetry {
  profileId = null;
  #waiting = [];
  #sending = false;
  #sequence = 0;
  #visit = sessionStorage.getItem("visit") ?? uuid7();

  constructor() {
    sessionStorage.setItem("visit", this.#visit);
    setInterval(() => this.flush(), EVERY_MS);
    addEventListener("pagehide", () => this.flush(true));
  }

  /** Note an event; `fields` are those of its type. */
  note(type, fields) {
    this.#waiting.push({
      event_id: uuid7(), schema: SCHEMA, type, session_id: this.#visit, seq: this.#sequence++,
      profile_id: this.profileId, device: "web", ts_client: new Date().toISOString(), ...fields,
    });
    if (this.#waiting.length > KEPT) this.#waiting.shift();
    if (this.#waiting.length >= BATCH) this.flush();
  }

  async flush(leaving = false) {
    if (!this.#waiting.length || (this.#sending && !leaving)) return;
    this.#sending = true;
    const batch = this.#waiting.slice(0, BATCH);
    const sent = new Date().toISOString();
    try {
      const answer = await fetch("/api/events", {
        method: "POST",
        keepalive: leaving,
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ events: batch.map((event) => ({ ...event, ts_sent: sent })) }),
      });
      // What the server refuses for good is not sent again; what it could not take is.
      if (answer.ok || [400, 413, 422].includes(answer.status)) {
        const done = new Set(batch.map((event) => event.event_id));
        this.#waiting = this.#waiting.filter((event) => !done.has(event.event_id));
      }
    } catch {
      // No network: the events wait for the next turn.
    } finally {
      this.#sending = false;
    }
  }
}

export const telemetry = new Telemetry();

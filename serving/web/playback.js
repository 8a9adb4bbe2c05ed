// One viewing: asks to watch, plays, keeps the place, counts for telemetry, offers what comes next.

import { post } from "./api.js";
import { AdaptivePlayer } from "./adaptive.js";
import { telemetry } from "./telemetry.js";

const FIRST_BEAT_MS = 3000;

export class Playback extends EventTarget {
  next = null;
  #video; #session; #player = null; #surface; #experiments;
  #asked = performance.now();
  #counters = { played_ms: 0, stall_ms: 0, stalls: 0, paused_ms: 0, startup_ms: null };
  #since = null; #last = null; #timers = []; #started = false; #over = false; #renewing = false;
  #leaving = new AbortController();

  constructor(video, { surface = null, experiments = {} } = {}) {
    super();
    this.#video = video;
    this.#surface = surface;
    this.#experiments = experiments;
  }

  /** Ask to watch and start. Throws the refusal of the server. */
  async open(titleId, profileId) {
    this.#session = await post(`/api/watch/${encodeURIComponent(titleId)}`, { profile_id: profileId });
    this.next = this.#session.next;
    this.#listen();
    const start = this.#session.resume_ms / 1000;
    if (AdaptivePlayer.supported) {
      this.#player = new AdaptivePlayer(this.#video);
      this.#player.addEventListener("expired", () => this.#renew());
      this.#player.addEventListener("failed", (event) => this.#broken(event.detail));
      await this.#player.load(this.#session.manifest.hls, start);
    } else {
      this.#video.src = this.#session.manifest.hls;
      this.#video.addEventListener("loadedmetadata", () => { this.#video.currentTime = start; }, { once: true });
    }
    const every = this.#session.heartbeat_s * 1000;
    this.#timers = [setTimeout(() => this.#beat(), FIRST_BEAT_MS), setInterval(() => this.#pulse(), every)];
    return this.#session;
  }

  get titleId() { return this.#session?.title_id; }

  get rung() { return this.#player?.rung ?? (this.#video.videoHeight ? `${this.#video.videoHeight}p` : null); }

  /** Leave: the place is kept, the last counters are sent. */
  close() {
    if (this.#over) return;
    this.#over = true;
    this.#timers.forEach((timer) => { clearTimeout(timer); clearInterval(timer); });
    if (this.#session) {
      this.#note("stop");
      this.#beat(true);
      telemetry.flush(true);
    }
    this.#leaving.abort();
    this.#player?.close();
  }

  #listen() {
    const on = (name, handle) => this.#video.addEventListener(name, handle, { signal: this.#leaving.signal });
    on("playing", () => this.#playing());
    on("timeupdate", () => this.#advance());
    on("seeking", () => { this.#last = null; });
    on("waiting", () => { if (this.#started && !this.#video.seeking) this.#enter("stall"); });
    on("pause", () => { if (!this.#video.ended) { this.#enter("paused"); this.#beat(); } });
    on("play", () => this.#leave());
    on("ended", () => this.#ended());
    on("error", () => this.#broken(this.#video.error?.message));
    addEventListener("pagehide", () => this.close(), { signal: this.#leaving.signal });
  }

  #playing() {
    this.#leave();
    this.#last = this.#video.currentTime;
    if (this.#started) return;
    this.#started = true;
    this.#counters.startup_ms = Math.round(performance.now() - this.#asked);
    this.#note("play");
  }

  #advance() {
    const now = this.#video.currentTime;
    if (this.#last !== null && now > this.#last && now - this.#last < 2) this.#counters.played_ms += (now - this.#last) * 1000;
    this.#last = this.#video.seeking ? null : now;
  }

  #enter(state) {
    if (this.#since?.state === state) return;
    this.#leave();
    if (state === "stall") this.#counters.stalls += 1;
    this.#since = { state, at: performance.now() };
  }

  #leave() {
    if (!this.#since) return;
    const passed = performance.now() - this.#since.at;
    this.#counters[this.#since.state === "stall" ? "stall_ms" : "paused_ms"] += passed;
    this.#since = null;
  }

  #ended() {
    this.#note("heartbeat");
    this.#beat();
    this.dispatchEvent(new Event("ended"));
  }

  #pulse() {
    this.#note("heartbeat");
    this.#beat();
  }

  async #beat(leaving = false) {
    const position = Math.round(this.#video.currentTime * 1000);
    if (!this.#started && !position) return;
    try {
      const renewed = await post(`/api/watch/${this.#session.playback_id}/heartbeat`, { position_ms: position }, { keepalive: leaving });
      this.#player?.renew(renewed.manifest.hls);
    } catch (refusal) {
      // The next beat tries again; a session that is over is opened anew when its files stop coming.
      console.warn(`the place was not kept: ${refusal.code}`);
    }
  }

  async #renew() {
    if (this.#renewing) return;
    this.#renewing = true;
    try {
      const again = await post(`/api/watch/${encodeURIComponent(this.#session.title_id)}`, { profile_id: telemetry.profileId });
      this.#session = { ...again, next: this.next };
      this.#player.renew(again.manifest.hls);
    } catch (refusal) {
      this.#broken(refusal.code);
    } finally {
      this.#renewing = false;
    }
  }

  #broken(reason) {
    if (this.#over) return;
    this.#note("error", { data: { code: String(reason ?? "unknown").slice(0, 200), fatal: true } });
    this.dispatchEvent(new CustomEvent("failed", { detail: reason }));
  }

  #note(type, more = {}) {
    const whole = Object.entries(this.#counters).filter(([, value]) => value !== null);
    telemetry.note(type, {
      playback_id: this.#session.playback_id,
      title_id: this.#session.title_id,
      position_ms: Math.round(this.#video.currentTime * 1000),
      ...Object.fromEntries(whole.map(([name, value]) => [name, Math.round(value)])),
      bits: this.#player?.bits ?? 0,
      rendition: this.rung,
      surface: this.#surface,
      experiments: this.#experiments,
      ...more,
    });
  }
}

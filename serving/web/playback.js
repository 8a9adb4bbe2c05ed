// One viewing: asks to watch, plays, keeps the place, counts for telemetry, offers what comes next.

import { call, post } from "./api.js";
import { AdaptivePlayer } from "./adaptive.js";
import { language } from "./i18n.js";
import { telemetry } from "./telemetry.js";

const FIRST_BEAT_MS = 3000;
const GONE = ["taken_over", "playback_over", "streams", "plan", "rental", "maturity", "age", "region", "no_offer", "unpublished"];
const AGENT = navigator.userAgent;
const DEVICE = {
  kind: /\bTV\b|SmartTV|Tizen|Web0S/i.test(AGENT) ? "tv" : /Mobi|Android/i.test(AGENT) ? "phone" : "web",
  name: [navigator.userAgentData?.brands?.at(-1)?.brand ?? "", navigator.userAgentData?.platform ?? ""].filter(Boolean).join(", ") || null,
  max_height: Math.min(8640, Math.max(144, Math.round(Math.max(screen.height, screen.width * 9 / 16) * devicePixelRatio))),
};
const nothingYet = () => ({ played_ms: 0, stall_ms: 0, stalls: 0, paused_ms: 0, startup_ms: null });

export class Playback extends EventTarget {
  next = null;
  #video; #session; #player = null; #surface; #experiments;
  #asked = performance.now();
  #counters = nothingYet(); #bitsBefore = 0;
  #since = null; #last = null; #timers = []; #started = false; #over = false; #renewing = false;
  #moved = false; #place = null;
  #leaving = new AbortController();

  constructor(video, { surface = null, experiments = {} } = {}) {
    super();
    this.#video = video;
    this.#surface = surface;
    this.#experiments = experiments;
  }

  /** Ask to watch and start; null when the viewer left meanwhile. Throws the refusal of the server.
   *
   * `sound`, `subtitles`: languages; `takeOver`: the playback of another device that ends for this one.
   */
  async open(titleId, profileId, { sound = null, subtitles = null, takeOver } = {}) {
    const session = await post(`/api/watch/${encodeURIComponent(titleId)}`, { profile_id: profileId, take_over: takeOver, device: DEVICE });
    if (this.#over) return null;
    this.#session = session;
    this.next = this.#session.next;
    this.#listen();
    const start = this.#session.resume_ms / 1000;
    if (AdaptivePlayer.supported) {
      this.#player = new AdaptivePlayer(this.#video);
      this.#player.addEventListener("expired", () => this.#renew());
      this.#player.addEventListener("failed", (event) => this.#broken(event.detail));
      await this.#player.load(this.#session.manifest.hls, start, { sound: sound ?? language, subtitles });
    } else {
      this.#start(this.#session.manifest.hls, start);
    }
    if (this.#over) return null;
    const every = this.#session.heartbeat_s * 1000;
    this.#timers = [setTimeout(() => this.#beat(), FIRST_BEAT_MS), setInterval(() => this.#pulse(), every)];
    return this.#session;
  }

  get titleId() { return this.#session?.title_id; }

  get rung() { return this.#player?.rung ?? (this.#video.videoHeight ? `${this.#video.videoHeight}p` : null); }

  /** The opening or the credits that are on the screen now: {kind, start_ms, end_ms}, or null. */
  get marker() {
    const now = this.#position;
    return this.#session?.markers.find((marker) => marker.start_ms <= now && now < marker.end_ms - 1000) ?? null;
  }

  /** The languages to hear it in, and the one that is heard. */
  get sounds() { return this.#player?.sounds ?? []; }

  get sound() { return this.#player?.sound ?? null; }

  set sound(sound) { this.#player.sound = sound; }

  isForced(track) { return this.#player?.isForced(track) ?? false; }

  /** Leave: the place is kept, the last counters are sent. */
  close() {
    if (this.#over) return;
    this.#over = true;
    this.#timers.forEach((timer) => { clearTimeout(timer); clearInterval(timer); });
    if (this.#session) {
      this.#note("stop");
      this.#stop();
      telemetry.flush(true);
    }
    this.#leaving.abort();
    if (this.#player) this.#player.close();
    else {
      this.#video.removeAttribute("src");
      this.#video.load();
    }
  }

  get #position() { return Math.round((this.#place ?? this.#video.currentTime) * 1000); }

  /** Let the browser play an address from this place on. */
  #start(address, seconds) {
    this.#place = seconds;
    this.#video.src = address;
    this.#video.addEventListener("loadedmetadata", () => {
      this.#video.currentTime = seconds;
      this.#place = null;
    }, { once: true, signal: this.#leaving.signal });
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
    on("error", () => this.#player ? this.#broken(this.#video.error?.message) : this.#reopen(this.#video.error?.message));
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
    if (this.#last !== null && now > this.#last && now - this.#last < 2) {
      this.#counters.played_ms += (now - this.#last) * 1000;
      this.#moved = true;
    }
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

  /** Tell the server that it is over, and where: the account has room for another device again. */
  #stop() {
    const position = this.#position;
    const body = this.#started || position ? { position_ms: position } : undefined;
    call("POST", `/api/watch/${this.#session.playback_id}/stop`, body, { keepalive: true })
      .catch((refusal) => console.warn(`the end was not told: ${refusal.code}`));
  }

  async #beat() {
    const position = this.#position;
    if (!this.#started && !position) return;
    try {
      const renewed = await post(`/api/watch/${this.#session.playback_id}/heartbeat`, { position_ms: position });
      this.#player?.renew(renewed.manifest.hls);
    } catch (refusal) {
      if (GONE.includes(refusal.code)) return this.#stopped(refusal.code);
      // The next beat tries again; a session that is over is opened anew when its files stop coming.
      console.warn(`the place was not kept: ${refusal.code}`);
    }
  }

  /** The server has ended it: nothing more is played here. */
  #stopped(reason) {
    if (this.#over) return;
    this.#video.pause();
    this.close();
    this.dispatchEvent(new CustomEvent("failed", { detail: reason }));
  }

  async #renew() {
    if (this.#renewing) return;
    this.#renewing = true;
    try {
      this.#player.renew(await this.#address());
    } catch (refusal) {
      this.#broken(refusal.code);
    } finally {
      this.#renewing = false;
    }
  }

  /** The browser's own HLS keeps the address that it was given: when its time is over the film is opened anew. */
  async #reopen(reason) {
    // An error before it moved again has another cause than an old address.
    if (!this.#moved || this.#place !== null) return this.#broken(reason);
    // Not `video.paused`: the browser itself stops at an error, and its `pause` event comes after this one.
    const paused = this.#since?.state === "paused";
    this.#moved = false;
    this.#last = null;
    this.#place = this.#video.currentTime;
    try {
      const address = await this.#address();
      if (this.#over) return;
      this.#start(address, this.#place);
      // Where the browser wants a gesture first, its own controls ask for it.
      if (!paused) this.#video.play().catch(() => this.#enter("paused"));
    } catch (refusal) {
      this.#broken(refusal.code);
    }
  }

  /** A fresh address: of this session, or of a new one, with counters of its own, when this one (or its cookie) is gone. */
  async #address() {
    try {
      const renewed = await post(`/api/watch/${this.#session.playback_id}/heartbeat`, { position_ms: this.#position });
      return renewed.manifest.hls;
    } catch (refusal) {
      if (!["unknown_playback", "media_forbidden"].includes(refusal.code)) throw refusal;
    }
    const again = await post(`/api/watch/${encodeURIComponent(this.#session.title_id)}`, { profile_id: telemetry.profileId });
    if (!this.#over) {
      this.#note("stop");
      this.#session = { ...again, next: this.next };
      this.#counters = nothingYet();
      this.#bitsBefore = this.#player?.bits ?? 0;
      this.#note("play");
    }
    return again.manifest.hls;
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
      position_ms: this.#position,
      ...Object.fromEntries(whole.map(([name, value]) => [name, Math.round(value)])),
      bits: (this.#player?.bits ?? 0) - this.#bitsBefore,
      rendition: this.rung,
      surface: this.#surface,
      experiments: this.#experiments,
      ...more,
    });
  }
}

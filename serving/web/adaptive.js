// An adaptive player on Media Source Extensions: HLS of CMAF segments, sound and subtitles apart, AES-128 or clear.
// It starts on the lowest rung and takes the highest one that the measured throughput carries. Unlike a browser's own
// HLS it plays in every browser with the extensions, takes renewed addresses, and counts the bits that it fetched.

import { parseCues, parseMaster, parseMedia } from "./playlists.js";

const AHEAD_S = 24;
const SAFETY = 0.8;
const TRIES = 5;
const CODECS = ["av01", "hvc1", "avc1"];  // of rungs of one size the codec that spends the fewest bits
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const isSound = (codec) => /^(mp4a|opus|fLaC|ac-3|ec-3)/.test(codec);
const mime = (kind, codecs) => `${kind}/mp4; codecs="${codecs.join(",")}"`;

/** The rungs that this browser and screen can show, one codec a size. */
function showable(rungs, apart) {
  const bright = matchMedia("(dynamic-range: high)").matches;
  const seen = new Map();
  for (const rung of rungs) {
    const codecs = apart ? rung.codecs.filter((codec) => !isSound(codec)) : rung.codecs;
    if (MediaSource.isTypeSupported(mime("video", codecs)) && (rung.range === "SDR" || bright)) seen.set(rung.path, { ...rung, codecs });
  }
  const rank = (rung) => CODECS.indexOf(rung.codecs[0].slice(0, 4));
  const best = new Map();
  for (const rung of seen.values()) best.set(rung.height, Math.min(best.get(rung.height) ?? Infinity, rank(rung)));
  return [...seen.values()].filter((rung) => rank(rung) === best.get(rung.height));
}

export class AdaptivePlayer extends EventTarget {
  static get supported() { return "MediaSource" in window; }

  bits = 0;
  sounds = [];
  #video; #base; #source = new MediaSource(); #tracks = []; #closed = false; #throughput = 0; #keys = new Map();
  #subtitles = null; #forced = new WeakSet();

  constructor(video) {
    super();
    this.#video = video;
  }

  /** Play the package behind this master playlist from `seconds` on, with the sound and the subtitles of these languages
   * where there are some. */
  async load(master, seconds, { sound, subtitles = null }) {
    this.#subtitles = subtitles;
    this.renew(master);
    const opened = new Promise((done) => this.#source.addEventListener("sourceopen", done, { once: true }));
    this.#video.src = URL.createObjectURL(this.#source);
    const { rungs, sounds, texts } = parseMaster(await (await this.#fetch("master.m3u8")).text());
    await opened;
    const shown = showable(rungs, sounds.length > 0);
    if (!shown.length) throw new Error("no rendition is in a format that this browser plays");
    const codecs = rungs.find((rung) => rung.path === shown[0].path).codecs.filter(isSound);
    const stereo = Math.min(...sounds.map((sound) => sound.channels));
    this.sounds = sounds.filter((sound) => sound.channels === stereo).map((sound) => ({ ...sound, name: sound.language, codecs }));
    this.#track("video", shown);
    const chosen = this.sounds.find((one) => one.language === sound) ?? this.sounds.find((sound) => sound.isDefault) ?? this.sounds[0];
    if (chosen) this.#track("audio", [chosen]);
    await Promise.all(this.#tracks.map((track) => this.#playlist(track.rungs[0])));
    const ends = this.#tracks.map((track) => track.rungs[0].segments.at(-1).end);
    this.#source.duration = Math.max(...ends);
    if (seconds > 0) this.#video.currentTime = seconds;
    this.#video.addEventListener("seeking", this.#seeking);
    for (const track of this.#tracks) this.#pump(track).catch((error) => this.#fail(error));
    for (const text of texts) this.#offer(text);
  }

  /** Take the files from a renewed address from now on. */
  renew(master) { this.#base = master.slice(0, master.lastIndexOf("/") + 1); }

  /** The rung on the screen. */
  get rung() {
    const now = this.#video.currentTime;
    return this.#tracks[0]?.shown.findLast((piece) => piece.start <= now + 0.1)?.name ?? null;
  }

  /** The sound that is heard; setting another one of `sounds` takes effect at once. */
  get sound() { return this.#tracks[1]?.rungs[0] ?? null; }

  set sound(sound) {
    const track = this.#tracks[1];
    if (!track || sound === track.rungs[0]) return;
    track.rungs = [sound];
    track.stale = true;
  }

  /** Whether a text track only translates what is spoken in another language. */
  isForced(track) { return this.#forced.has(track); }

  close() {
    this.#closed = true;
    this.#video.removeEventListener("seeking", this.#seeking);
    URL.revokeObjectURL(this.#video.src);
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  #track(kind, rungs) {
    const buffer = this.#source.addSourceBuffer(mime(kind, rungs[0].codecs));
    this.#tracks.push({ kind, buffer, rungs, codecs: rungs[0].codecs, current: null, have: new Set(), shown: [] });
  }

  #seeking = () => {
    for (const track of this.#tracks) if (!this.#range(track)) track.have.clear();
  };

  #range(track) {
    const now = this.#video.currentTime, { buffered } = track.buffer;
    for (let i = 0; i < buffered.length; i++)
      if (buffered.start(i) - 0.3 <= now && now < buffered.end(i)) return { start: buffered.start(i), end: buffered.end(i) };
    return null;
  }

  async #pump(track) {
    while (!this.#closed) {
      if (track.stale) await this.#empty(track);
      const reached = this.#range(track)?.end ?? this.#video.currentTime;
      const rung = this.#choose(track);
      const { segments } = await this.#playlist(rung);
      const index = segments.findIndex((piece, i) => piece.end > reached + 0.05 && !track.have.has(i));
      if (index < 0 || segments[index].start > this.#video.currentTime + AHEAD_S) {
        track.done = index < 0;
        this.#finish();
        await sleep(100);
        continue;
      }
      track.done = false;
      if (track.current !== rung) {
        rung.header ??= await (await this.#fetch(rung.init)).arrayBuffer();
        if (rung.codecs.join() !== track.codecs.join()) track.buffer.changeType(mime(track.kind, rung.codecs));
        track.codecs = rung.codecs;
        await this.#append(track, rung.header);
        track.current = rung;
      }
      const data = await this.#open(segments[index], await this.#measured(segments[index].path));
      if (this.#closed) return;
      if (track.stale) continue;
      await this.#append(track, data);
      track.have.add(index);
      track.shown = track.shown.filter((piece) => piece.start !== segments[index].start);
      track.shown.push({ start: segments[index].start, name: rung.name });
      track.shown.sort((a, b) => a.start - b.start);
    }
  }

  /** Forget what was fetched of another sound. */
  async #empty(track) {
    track.stale = false;
    track.have.clear();
    track.buffer.remove(0, Infinity);
    await this.#updated(track);
  }

  #choose(track) {
    const carried = track.rungs.filter((rung) => rung.bandwidth <= SAFETY * this.#throughput);
    return track.kind === "audio" ? track.rungs[0] : carried.at(-1) ?? track.rungs[0];
  }

  async #playlist(rung) {
    if (!rung.segments) Object.assign(rung, parseMedia(await (await this.#fetch(rung.path)).text(), rung.path));
    return rung;
  }

  /** A segment in the clear: AES-128 in CBC over the whole of it, its sequence number as the vector (RFC 8216, 5.2). */
  async #open(segment, data) {
    if (!segment.key) return data;
    if (!window.crypto.subtle) throw new Error("a protected film plays over HTTPS or on this machine only");
    const { address, iv } = segment.key;
    if (!this.#keys.has(address)) this.#keys.set(address, await this.#key(address));
    const vector = new Uint8Array(16);
    if (iv) iv.slice(2).padStart(32, "0").match(/../g).forEach((byte, n) => { vector[n] = parseInt(byte, 16); });
    else new DataView(vector.buffer).setUint32(12, segment.sequence);
    return crypto.subtle.decrypt({ name: "AES-CBC", iv: vector }, this.#keys.get(address), data);
  }

  async #key(address) {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).code ?? `key: ${answer.status}`);
    return crypto.subtle.importKey("raw", await answer.arrayBuffer(), "AES-CBC", false, ["decrypt"]);
  }

  /** Put subtitles into the browser's own menu; their files are fetched while they are shown. */
  #offer(text) {
    const track = this.#video.addTextTrack("subtitles", text.label, text.language);
    // What is spoken in another language than the sound's is meant to be read by everybody.
    if (text.forced) this.#forced.add(track);
    const isWanted = text.forced ? text.language === this.sound?.language : text.language === this.#subtitles;
    track.mode = isWanted ? "showing" : "disabled";
    this.#read(text, track).catch((error) => console.warn(`no subtitles: ${error.message}`));
  }

  async #read(text, track) {
    const have = new Set(), known = new Set();
    for (; !this.#closed; await sleep(250)) {
      if (track.mode !== "showing") continue;
      const now = this.#video.currentTime;
      const { segments } = await this.#playlist(text);
      const piece = segments.find((one) => one.end > now && one.start < now + AHEAD_S && !have.has(one.path));
      if (!piece) continue;
      for (const cue of parseCues(await (await this.#fetch(piece.path)).text())) {
        // A cue that goes over a cut stands in both files.
        const name = `${cue.start} ${cue.text}`;
        if (!known.has(name)) track.addCue(new VTTCue(cue.start, cue.end, cue.text));
        known.add(name);
      }
      have.add(piece.path);
    }
  }

  async #measured(path) {
    const start = performance.now();
    const data = await (await this.#fetch(path)).arrayBuffer();
    const bits = data.byteLength * 8, rate = bits / Math.max(0.001, (performance.now() - start) / 1000);
    this.bits += bits;
    this.#throughput = this.#throughput ? 0.6 * this.#throughput + 0.4 * rate : rate;
    return data;
  }

  async #fetch(path) {
    for (let attempt = 0; ; attempt++) {
      const answer = await fetch(this.#base + path).catch(() => null);
      if (answer?.ok) return answer;
      if (this.#closed || attempt === TRIES) throw new Error(`${path}: ${answer?.status ?? "no answer"}`);
      if (answer?.status === 410 || answer?.status === 403) this.dispatchEvent(new Event("expired"));
      await sleep(300 * 2 ** attempt);
    }
  }

  async #append(track, data) {
    track.buffer.appendBuffer(data);
    await this.#updated(track);
  }

  async #updated(track) {
    await new Promise((done) => track.buffer.addEventListener("updateend", done, { once: true }));
  }

  #finish() {
    const quiet = this.#tracks.every((track) => track.done && !track.buffer.updating);
    if (quiet && this.#source.readyState === "open") this.#source.endOfStream();
  }

  #fail(error) {
    if (!this.#closed) this.dispatchEvent(new CustomEvent("failed", { detail: error.message }));
  }
}

// An adaptive player on Media Source Extensions: HLS playlists of CMAF segments (RFC 8216), sound apart or within.
// It starts on the lowest rung and takes the highest one that the measured throughput carries. Unlike a browser's own
// HLS it plays in every browser with the extensions, takes renewed addresses, and counts the bits that it fetched.

const AHEAD_S = 24;
const SAFETY = 0.8;
const TRIES = 5;
const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

function attributes(line) {
  const found = [...line.matchAll(/([A-Z0-9-]+)=("[^"]*"|[^,]*)/g)];
  return Object.fromEntries(found.map(([, name, value]) => [name, value.replace(/^"|"$/g, "")]));
}

/** Variants from low to high, and the sound that is meant to be heard (null: it is in the video). */
export function parseMaster(text) {
  const lines = text.split(/\r?\n/);
  const rungs = [];
  let sound = null;
  lines.forEach((line, index) => {
    if (line.startsWith("#EXT-X-STREAM-INF:")) {
      const facts = attributes(line);
      const path = lines.slice(index + 1).find((next) => next && !next.startsWith("#"));
      rungs.push({ path, codecs: facts.CODECS ?? "", bandwidth: Number(facts.BANDWIDTH), name: path.split("/").at(-2) });
    } else if (line.startsWith("#EXT-X-MEDIA:TYPE=AUDIO")) {
      const facts = attributes(line);
      if (facts.URI && (!sound || facts.DEFAULT === "YES")) sound = { path: facts.URI, name: facts.LANGUAGE ?? "sound" };
    }
  });
  return { rungs: rungs.sort((a, b) => a.bandwidth - b.bandwidth), sound };
}

/** The segments of a media playlist with their times, and its initialisation segment. */
export function parseMedia(text, path) {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const segments = [];
  let init = null, length = 0, start = 0;
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("#EXT-X-MAP:")) init = folder + attributes(line).URI;
    else if (line.startsWith("#EXTINF:")) length = parseFloat(line.slice(8));
    else if (line && !line.startsWith("#")) {
      segments.push({ path: folder + line, start, end: start + length });
      start += length;
    }
  }
  return { init, segments };
}

export class AdaptivePlayer extends EventTarget {
  static get supported() { return "MediaSource" in window; }

  bits = 0;
  #video; #base; #source = new MediaSource(); #tracks = []; #closed = false; #throughput = 0;

  constructor(video) {
    super();
    this.#video = video;
  }

  /** Play the package behind this master playlist from `seconds` on. */
  async load(master, seconds) {
    this.renew(master);
    const opened = new Promise((done) => this.#source.addEventListener("sourceopen", done, { once: true }));
    this.#video.src = URL.createObjectURL(this.#source);
    const { rungs, sound } = parseMaster(await (await this.#fetch("master.m3u8")).text());
    await opened;
    const codecs = rungs[0].codecs.split(",");
    const spoken = codecs.filter((codec) => /^(mp4a|opus|fLaC)/.test(codec));
    const seen = codecs.filter((codec) => !spoken.includes(codec));
    this.#track("video", sound ? seen : codecs, rungs);
    if (sound) this.#track("audio", spoken, [sound]);
    await Promise.all(this.#tracks.map((track) => this.#playlist(track, track.rungs[0])));
    const ends = this.#tracks.map((track) => track.rungs[0].segments.at(-1).end);
    this.#source.duration = Math.max(...ends);
    if (seconds > 0) this.#video.currentTime = seconds;
    this.#video.addEventListener("seeking", this.#seeking);
    for (const track of this.#tracks) this.#pump(track).catch((error) => this.#fail(error));
  }

  /** Take the files from a renewed address from now on. */
  renew(master) { this.#base = master.slice(0, master.lastIndexOf("/") + 1); }

  /** The rung on the screen. */
  get rung() {
    const now = this.#video.currentTime;
    return this.#tracks[0]?.shown.findLast((piece) => piece.start <= now + 0.1)?.name ?? null;
  }

  close() {
    this.#closed = true;
    this.#video.removeEventListener("seeking", this.#seeking);
    URL.revokeObjectURL(this.#video.src);
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  #track(kind, codecs, rungs) {
    const buffer = this.#source.addSourceBuffer(`${kind}/mp4; codecs="${codecs.join(",")}"`);
    this.#tracks.push({ kind, buffer, rungs, current: null, have: new Set(), shown: [] });
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
      const reached = this.#range(track)?.end ?? this.#video.currentTime;
      const rung = this.#choose(track);
      const { segments } = await this.#playlist(track, rung);
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
        await this.#append(track, rung.header);
        track.current = rung;
      }
      const data = await this.#measured(segments[index].path);
      if (this.#closed) return;
      await this.#append(track, data);
      track.have.add(index);
      track.shown = track.shown.filter((piece) => piece.start !== segments[index].start);
      track.shown.push({ start: segments[index].start, name: rung.name });
      track.shown.sort((a, b) => a.start - b.start);
    }
  }

  #choose(track) {
    const carried = track.rungs.filter((rung) => rung.bandwidth <= SAFETY * this.#throughput);
    return track.kind === "audio" ? track.rungs[0] : carried.at(-1) ?? track.rungs[0];
  }

  async #playlist(track, rung) {
    if (!rung.segments) Object.assign(rung, parseMedia(await (await this.#fetch(rung.path)).text(), rung.path));
    return rung;
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

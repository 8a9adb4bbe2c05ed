// What a package's playlists say (RFC 8216) and what its subtitles say (WebVTT): text in, plain objects out.

function attributes(line) {
  const found = [...line.matchAll(/([A-Z0-9-]+)=("[^"]*"|[^,]*)/g)];
  return Object.fromEntries(found.map(([, name, value]) => [name, value.replace(/^"|"$/g, "")]));
}

function rendition(facts) {
  return {
    path: facts.URI, group: facts["GROUP-ID"], language: facts.LANGUAGE ?? "und", label: facts.NAME ?? facts.LANGUAGE,
    isDefault: facts.DEFAULT === "YES", forced: facts.FORCED === "YES", channels: parseInt(facts.CHANNELS ?? "2", 10),
  };
}

/** Variants from low to high, and the sounds and subtitles that go with them. A sound without a path is in the video. */
export function parseMaster(text) {
  const lines = text.split(/\r?\n/);
  const rungs = [], sounds = [], texts = [];
  lines.forEach((line, index) => {
    if (line.startsWith("#EXT-X-STREAM-INF:")) {
      const facts = attributes(line);
      const path = lines.slice(index + 1).find((next) => next && !next.startsWith("#"));
      rungs.push({
        path, group: facts.AUDIO, codecs: (facts.CODECS ?? "").split(","), bandwidth: Number(facts.BANDWIDTH),
        height: Number(facts.RESOLUTION?.split("x")[1] ?? 0), range: facts["VIDEO-RANGE"] ?? "SDR", name: path.split("/").at(-2),
      });
    } else if (line.startsWith("#EXT-X-MEDIA:")) {
      const facts = attributes(line);
      if (!facts.URI) return;
      if (facts.TYPE === "AUDIO") sounds.push(rendition(facts));
      if (facts.TYPE === "SUBTITLES") texts.push(rendition(facts));
    }
  });
  return { rungs: rungs.sort((a, b) => a.bandwidth - b.bandwidth), sounds, texts };
}

/** The segments of a media playlist with their times and keys, and its initialisation segment. */
export function parseMedia(text, path) {
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const segments = [];
  let init = null, length = 0, start = 0, sequence = 0, key = null;
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("#EXT-X-MAP:")) init = folder + attributes(line).URI;
    else if (line.startsWith("#EXT-X-MEDIA-SEQUENCE:")) sequence = parseInt(line.split(":")[1], 10);
    else if (line.startsWith("#EXT-X-KEY:")) {
      const facts = attributes(line);
      key = facts.METHOD === "NONE" ? null : { address: facts.URI, iv: facts.IV ?? null };
    } else if (line.startsWith("#EXTINF:")) length = parseFloat(line.slice(8));
    else if (line && !line.startsWith("#")) {
      segments.push({ path: folder + line, start, end: start + length, sequence, key });
      start += length;
      sequence += 1;
    }
  }
  return { init, segments };
}

const seconds = (stamp) => stamp.split(":").reduce((sum, part) => 60 * sum + parseFloat(part), 0);

/** The cues of a WebVTT file whose clock is the film's own. */
export function parseCues(text) {
  return text.replace(/\r\n?/g, "\n").trim().split(/\n{2,}/).flatMap((block) => {
    const lines = block.split("\n"), at = lines.findIndex((line) => line.includes("-->"));
    if (at < 0) return [];
    const [from, , to] = lines[at].trim().split(/\s+/);
    return [{ start: seconds(from), end: seconds(to), text: lines.slice(at + 1).join("\n") }];
  });
}

// The player's screen: skipping, sounds and subtitles that are remembered, the next episode, and what stands in the way.

import { patch } from "./api.js";
import { surfaceOf } from "./cards.js";
import { explain, h, notice } from "./dom.js";
import { dialog } from "./forms.js";
import { local, t } from "./i18n.js";
import { Playback } from "./playback.js";
import { profileId, profilePath, state } from "./state.js";
import { offersOf } from "./title.js";

const COUNTDOWN_S = 8;
const go = (hash) => { location.hash = hash; };

export function watch(id) {
  const video = h("video", { controls: true, playsinline: true, "aria-label": t("play") });
  const badge = h("span", { class: "rung", "aria-hidden": "true" });
  const sounds = h("select", { class: "sounds", "aria-label": t("sound"), hidden: true });
  const skip = h("button", { class: "button skip", hidden: true });
  const panel = h("div", { class: "panel", hidden: true });
  const close = h("button", { class: "close", "aria-label": t("close"), onclick: () => history.length > 1 ? history.back() : go("#/") }, "✕");
  const after = () => start(id, { video, badge, sounds, skip, panel });
  return { nodes: [h("h1", { class: "unseen" }, t("player")), h("div", { class: "player" }, video, badge, sounds, skip, panel, close)], after };
}

function start(id, { video, badge, sounds, skip, panel }) {
  document.body.classList.add("watching");
  const playback = new Playback(video, surfaceOf(id));
  const leaving = new AbortController();
  const timer = setInterval(() => {
    badge.textContent = playback.rung ?? "";
    offerSkip(skip, video, playback);
  }, 250);
  playback.addEventListener("ended", () => offerNext(panel, playback, leaving.signal));
  playback.addEventListener("failed", ({ detail }) => {
    message(panel, t(`error.${detail}`) || t(`refusal.${detail}`) || t("error.playback"));
    if (["taken_over", "playback_over", "streams"].includes(detail)) panel.append(h("button", { class: "button", onclick: () => dispatchEvent(new HashChangeEvent("hashchange")) }, t("watch_here")));
  });
  begin(id, playback).then((session) => {
    if (!session) return;
    offerSounds(sounds, playback);
    if (playback.sounds.length) learnSubtitles(video, playback, leaving.signal); // the browser's own HLS chooses by itself
    video.focus();
    video.play().catch(() => notice(t("press_play")));
  }).catch((refusal) => {
    if (refusal.code === undefined) return message(panel, t("error.playback"));
    message(panel, explain(refusal));
    const offers = offersOf(refusal.document, id);
    if (offers) panel.append(offers);
  });
  return () => { leaving.abort(); clearInterval(timer); playback.close(); document.body.classList.remove("watching"); };
}

/** Open the film; where too many devices play, another one may be stopped for it. */
async function begin(id, playback) {
  const preferred = { sound: state.profile?.audio_language, subtitles: state.profile?.subtitle_language };
  try {
    return await playback.open(id, profileId(), preferred);
  } catch (refusal) {
    if (refusal.code !== "streams" || !refusal.document.sessions?.length) throw refusal;
    const chosen = await dialog(t("streams_title"), (close) => [h("p", {}, t("streams_text")), h("ul", { class: "lines" },
      refusal.document.sessions.map((one) => h("li", {}, h("span", {}, t("on_device", {
        device: deviceName(one.device), title: local(one.titles) || one.title_id, profile: one.profile?.name ?? one.profile ?? "",
      })), h("button", { class: "button", onclick: () => close(one.playback_id) }, t("take_over"))))),
    h("button", { class: "button quiet", onclick: () => close(null) }, t("cancel"))]);
    if (!chosen) throw refusal;
    return playback.open(id, profileId(), { ...preferred, takeOver: chosen });
  }
}

const deviceName = (device) => (typeof device === "string" ? device : device?.name ?? device?.kind) || t("device.unknown");

/** Over an opening: to its end; over the credits: to the next episode, where there is one. */
function offerSkip(button, video, playback) {
  const marker = playback.marker, following = playback.next;
  const offered = marker?.kind === "intro" || following ? marker : null;
  button.hidden = !offered;
  if (!offered || button.dataset.kind === offered.kind) return;
  button.dataset.kind = offered.kind;
  button.textContent = t(offered.kind === "intro" ? "skip_intro" : "next");
  button.onclick = () => {
    if (offered.kind === "intro") video.currentTime = offered.end_ms / 1000;
    else location.replace(`#/watch/${encodeURIComponent(following.title_id)}`);
  };
}

/** Remember for this profile what its player was set to. */
function learn(choice) {
  const [name, value] = Object.entries(choice)[0];
  if (!state.profile || state.profile[name] === value) return;
  state.profile[name] = value;
  patch(profilePath(), choice).catch((refusal) => console.warn(`the choice was not kept: ${refusal.code}`));
}

function offerSounds(select, playback) {
  if (playback.sounds.length < 2) return;
  const options = playback.sounds.map((sound, n) => h("option", { value: n, selected: sound === playback.sound }, sound.label));
  select.replaceChildren(...options);
  select.onchange = () => {
    playback.sound = playback.sounds[select.value];
    learn({ audio_language: playback.sound.language });
  };
  select.hidden = false;
}

/** The browser's own menu chooses subtitles; what it shows is the choice, forced ones apart. */
function learnSubtitles(video, playback, signal) {
  const showing = () => [...video.textTracks].find((track) => track.mode === "showing" && !playback.isForced(track))?.language ?? "off";
  let shown = showing(); // what the film lacks is no choice
  video.textTracks.addEventListener("change", () => {
    if (showing() === shown) return;
    shown = showing();
    learn({ subtitle_language: shown });
  }, { signal });
}

function message(panel, text) {
  const back = h("button", { class: "button quiet", onclick: () => history.back() }, t("back"));
  panel.replaceChildren(h("p", { role: "alert" }, text), back);
  panel.hidden = false;
  back.focus();
}

function offerNext(panel, playback, signal) {
  const following = playback.next;
  if (!following) {
    panel.replaceChildren(h("p", {}, t("the_end")), h("a", { class: "button", href: "#/" }, t("home")));
  } else {
    const hash = `#/watch/${encodeURIComponent(following.title_id)}`;
    // The next episode takes this one's place in the history: closing the player leads back to where the viewer came from.
    const onclick = (event) => { event.preventDefault(); location.replace(hash); };
    panel.replaceChildren(h("a", { class: "button", id: "next", href: hash, onclick }, `${t("next")}: ${local(following.titles)}`));
    if (state.profile?.autoplay) countDown(panel, () => location.replace(hash), signal);
  }
  panel.hidden = false;
  panel.querySelector("a").focus();
}

function countDown(panel, then, signal) {
  let left = COUNTDOWN_S;
  const words = h("p", { "aria-live": "off" }, t("next_in", { n: left }));
  const stop = () => { clearInterval(timer); words.remove(); cancel.remove(); };
  const cancel = h("button", { class: "button quiet", onclick: stop }, t("cancel"));
  const timer = setInterval(() => {
    left -= 1;
    words.textContent = t("next_in", { n: left });
    if (left > 0) return;
    stop();
    then();
  }, 1000);
  signal.addEventListener("abort", stop);
  panel.prepend(words);
  panel.append(cancel);
}

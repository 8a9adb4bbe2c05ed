// Small helpers to build the page: elements, messages, moving between cards with arrow keys.

import { t } from "./i18n.js";

/** An element: attributes starting with `on` are listeners, false and null are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function show(...nodes) {
  const view = document.getElementById("view");
  view.replaceChildren(...nodes.flat(Infinity).filter(Boolean));
  scrollTo(0, 0);
  return view;
}

let hiding = null;

export function notice(text) {
  const box = document.getElementById("notice");
  box.textContent = text;
  clearTimeout(hiding);
  hiding = setTimeout(() => { box.textContent = ""; }, 6000);
}

/** What a refusal of the server says to a person. */
export function explain(refusal) {
  const { code, document } = refusal;
  return (document?.reason && t(`error.${code}.${document.reason}`)) || t(`error.${code}`, { seconds: refusal.retryAfter ?? 60 })
    || t(`refusal.${code}`) || t("error.other", { detail: refusal.message });
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** The nearest card in the direction of an arrow key. */
export function moveFocus(event) {
  const step = STEPS[event.key], from = document.activeElement?.closest(".card, .key");
  if (!step || !from) return;
  const centre = (box) => [box.left + box.width / 2, box.top + box.height / 2];
  const [x, y] = centre(from.getBoundingClientRect());
  let best = null, least = Infinity;
  for (const card of document.querySelectorAll(from.matches(".key") ? ".key" : ".card")) {
    const [cx, cy] = centre(card.getBoundingClientRect());
    const along = (cx - x) * step[0] + (cy - y) * step[1], across = Math.abs((cx - x) * step[1]) + Math.abs((cy - y) * step[0]);
    const distance = along + 3 * across;
    if (card !== from && along > 4 && (step[1] || across < 40) && distance < least) [best, least] = [card, distance];
  }
  if (!best) return;
  event.preventDefault();
  best.focus();
  best.scrollIntoView({ block: "nearest", inline: "center" });
}

// Forms and dialogs: labelled fields, refusals in words where they happened, the focus where it belongs.

import { explain, h } from "./dom.js";
import { t } from "./i18n.js";

export const field = (name, label, attributes = {}) => h("label", {}, label, h("input", { name, required: true, ...attributes }));

export const choice = (name, label, options, chosen) => h("label", {}, label, h("select", { name },
  options.map(([value, words]) => h("option", { value, selected: value === chosen }, words))));

export const tick = (name, label, checked) => h("label", { class: "tick" }, h("input", { type: "checkbox", name, checked }), label);

export const email = () => field("email", t("email"), { type: "email", autocomplete: "username" });

export const newPassword = (label = t("password")) => field("password", `${label} (${t("password_hint")})`,
  { type: "password", minlength: 8, maxlength: 256, autocomplete: "new-password" });

export const code = (label = t("code")) => field("code", label, { autocomplete: "one-time-code", inputmode: "text", maxlength: 40, autocapitalize: "none", spellcheck: "false" });

/** A form: `submit(values, form)` may throw a `Refusal`, which is told above the button; while it runs nothing is sent twice. */
export function form(parts, button, submit, attributes = {}) {
  const error = h("p", { class: "refusal", role: "alert" });
  const send = h("button", { class: "button" }, button);
  const made = h("form", { class: "form", ...attributes, onsubmit: async (event) => {
    event.preventDefault();
    if (send.disabled) return;
    send.disabled = true;
    error.textContent = "";
    try {
      await submit(Object.fromEntries(new FormData(made)), made);
    } catch (refusal) {
      if (refusal.code === undefined) throw refusal;
      error.textContent = explain(refusal);
      (made.querySelector("[autofocus], input[type=password], input") ?? send).focus();
    } finally {
      send.disabled = false;
    }
  } }, parts, error, send);
  return made;
}

export const focusFirst = (made) => () => made.querySelector("input, select, button")?.focus();

/** A modal dialog; `build(close)` makes its content. Resolves with what `close` was given, null for Escape. */
export function dialog(title, build) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const box = h("dialog", { class: "dialog", "aria-label": title });
    let result = null;
    const close = (value) => { result = value; box.close(); };
    box.append(h("h2", {}, title), ...[build(close)].flat(Infinity).filter(Boolean));
    box.addEventListener("close", () => {
      box.remove();
      before?.isConnected && before.focus();
      resolve(result);
    });
    document.body.append(box);
    box.showModal();
    (box.querySelector("input, select") ?? box.querySelector("button"))?.focus();
  });
}

/** Yes or no. */
export const confirmed = (title, text, yes) => dialog(title, (close) => [h("p", {}, text), h("p", { class: "buttons" },
  h("button", { class: "button", onclick: () => close(true) }, yes),
  h("button", { class: "button quiet", onclick: () => close(false) }, t("cancel")))]);

/** Digits to press, for fingers and remote controls; what is typed or pasted into the field counts as well. */
export function pinForm(submit, close, label = t("pin")) {
  const input = h("input", { name: "pin", type: "password", inputmode: "numeric", pattern: "[0-9]{4,6}", minlength: 4, maxlength: 6, required: true, autocomplete: "off", class: "pin" });
  const press = (value) => () => { input.value = value === "←" ? input.value.slice(0, -1) : (input.value + value).slice(0, 6); };
  const keys = h("div", { class: "keys" }, [..."123456789←0"].map((key) =>
    h("button", { type: "button", class: "key", "aria-label": key === "←" ? t("remove") : key, onclick: press(key) }, key)));
  const made = form([h("p", { class: "hint" }, t("pin_text")), h("label", {}, label, input), keys], t("ok"), async ({ pin }) => {
    try {
      await submit(pin);
    } catch (refusal) {
      input.value = "";
      throw refusal;
    }
    close(true);
  }, { class: "form bare" });
  return [made, h("button", { class: "button quiet", type: "button", onclick: () => close(false) }, t("cancel"))];
}

/** Ask who is there once more, for what only the owner may do; whether they have shown it. */
export const reauthenticated = (prove) => dialog(t("reauthenticate"), (close) => form([
  h("p", { class: "hint" }, t("reauthenticate_text")),
  field("secret", t("password_or_code"), { type: "password", autocomplete: "current-password" }),
], t("ok"), async ({ secret }) => { await prove(secret); close(true); }, { class: "form bare" }));

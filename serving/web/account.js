// The account: e-mail, password, second factor, PIN, where one is signed in, one's data.

import { call, get, post, put, remove } from "./api.js";
import { h, notice } from "./dom.js";
import { code, confirmed, dialog, email, field, form, newPassword } from "./forms.js";
import { moment, t } from "./i18n.js";
import { dropPin, setPin } from "./profiles.js";
import { leave, loadAccount, state } from "./state.js";
import { drawing } from "./tv.js";

const again = () => dispatchEvent(new HashChangeEvent("hashchange"));
const button = (words, onclick) => h("button", { class: "button quiet", onclick }, words);

export async function account() {
  const [about, factor, sessions] = await Promise.all([get("/api/account"), get("/api/auth/totp"), get("/api/auth/sessions")]);
  return { nodes: [h("h1", {}, t("account")), h("div", { class: "sections" },
    emailSection(about), passwordSection(), factorSection(factor), pinSection(), sessionsSection(sessions.items), dataSection())] };
}

const section = (title, ...parts) => h("section", { class: "form" }, h("h2", {}, title), parts);

function emailSection(about) {
  const change = () => dialog(t("change_email"), (close) => form([email()], t("save"), async (given) => {
    await put("/api/auth/email", { email: given.email });
    notice(t("letter_sent"));
    close(true);
  }, { class: "form bare" })).then((done) => done && again());
  const unconfirmed = !about.email_confirmed && [h("span", { class: "hint" }, ` · ${t("email_unconfirmed")}`)];
  return section(t("email"), h("p", {}, about.email, unconfirmed), h("p", { class: "buttons" }, button(t("change_email"), change),
    !about.email_confirmed && button(t("send_again"), async () => { await post("/api/auth/confirm/letter"); notice(t("letter_sent")); })));
}

function passwordSection() {
  const change = () => dialog(t("change_password"), (close) => form([
    field("now", t("password_now"), { type: "password", autocomplete: "current-password" }), newPassword(t("password_new")),
  ], t("save"), async (given) => {
    await put("/api/auth/password", { password: given.now, new_password: given.password });
    notice(t("password_changed"));
    close(true);
  }, { class: "form bare" }));
  return section(t("password"), h("p", {}, button(t("change_password"), change)));
}

function factorSection(factor) {
  const start = async () => {
    const made = await post("/api/auth/totp");
    const done = await dialog(t("second_factor"), (close) => form([
      h("p", {}, t("factor_scan")), drawing(made.qr, t("second_factor")), h("p", {}, `${t("factor_key")}: `, h("code", {}, made.secret)), code(),
    ], t("turn_on"), async (given) => {
      const { recovery_codes: codes } = await post("/api/auth/totp/confirm", { code: given.code.trim() });
      close(codes);
    }, { class: "form bare" }));
    if (!done) return;
    await dialog(t("recovery_codes"), (close) => [h("p", {}, t("recovery_codes_text")),
      h("ul", { class: "codes" }, done.map((one) => h("li", {}, h("code", {}, one)))), h("button", { class: "button", onclick: () => close(true) }, t("done"))]);
    again();
  };
  const stop = async () => { await remove("/api/auth/totp"); again(); };
  return section(t("second_factor"), h("p", {}, t(factor.enabled ? "factor_on" : "factor_off"),
    factor.enabled && h("span", { class: "hint" }, ` · ${t("codes_left", { n: factor.recovery_codes_left })}`)),
  h("p", {}, factor.enabled ? button(t("turn_off"), stop) : button(t("turn_on"), start)));
}

function pinSection() {
  const fresh = () => loadAccount().then(again);
  return section(t("account_pin"), h("p", { class: "hint" }, t("account_pin_text")), h("p", { class: "buttons" },
    button(t(state.account.pin ? "change_pin" : "set_pin"), async () => { if (await setPin("/api/profile/pin")) await fresh(); }),
    state.account.pin && button(t("drop_pin"), async () => { await dropPin("/api/profile/pin"); await fresh(); })));
}

function sessionsSection(sessions) {
  const line = (one) => h("li", {}, h("span", {}, one.device || t("device.unknown"), one.current && h("span", { class: "hint" }, ` · ${t("this_one")}`),
    h("span", { class: "facts" }, ` · ${t("last_used", { at: moment(one.last_used_at ?? one.created_at) })}`)),
  !one.current && button(t("end_session"), async () => { await remove(`/api/auth/sessions/${encodeURIComponent(one.session_id)}`); again(); }));
  const everywhere = async () => {
    await leave(true);
    location.hash = "#/login";
  };
  return section(t("sessions"), h("ul", { class: "lines" }, sessions.map(line)), h("p", { class: "buttons" },
    sessions.length > 1 && button(t("end_others"), async () => { await remove("/api/auth/sessions"); again(); }), button(t("end_all"), everywhere)));
}

function dataSection() {
  const download = async () => {
    const data = await call("GET", "/api/account/export");
    const address = URL.createObjectURL(new Blob([JSON.stringify(data, null, 1)], { type: "application/json" }));
    h("a", { href: address, download: "matinee.json" }).click();
    URL.revokeObjectURL(address);
  };
  const erase = async () => {
    if (!await confirmed(t("erase"), t("erase_text"), t("delete"))) return;
    await post("/api/account/erase");
    notice(t("erased"));
    await leave();
    location.hash = "#/";
  };
  return section(t("export"), h("p", { class: "hint" }, t("export_text")), h("p", {}, button(t("download"), download)),
    h("h2", {}, t("erase")), h("p", { class: "hint" }, t("erase_text")), h("p", {}, button(t("erase"), erase)));
}

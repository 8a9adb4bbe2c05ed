// Who is signed in, and whose profile watches.

import { get, post, remove } from "./api.js";
import { dialog, pinForm } from "./forms.js";
import { t } from "./i18n.js";
import { telemetry } from "./telemetry.js";

export const state = { account: null, profiles: [], profile: null };

const SIGNED_IN = "signed-in"; // the cookies are out of reach, so this remembers that there are some

/** After logging in or out, or a change of profiles: who is it now? */
export async function loadAccount({ entered = false } = {}) {
  if (entered) localStorage.setItem(SIGNED_IN, "yes");
  if (!localStorage.getItem(SIGNED_IN)) return forget();
  try {
    const found = await get("/api/profile");
    state.account = found;
    state.profiles = found.profiles;
    const only = found.profiles.length === 1 && !found.current && found.profiles[0].open ? found.profiles[0] : null;
    // Whoever is alone here need not say so, and stays who they are when others come.
    if (only) await post(`/api/profile/${encodeURIComponent(only.profile_id)}/enter`);
    choose(only ?? found.profiles.find((one) => one.profile_id === found.current) ?? null);
  } catch (refusal) {
    if (refusal.status !== 401) throw refusal;
    forget();
  }
}

/** Whether somebody has to say first who watches. */
export const isUndecided = () => state.account !== null && state.profile === null;

/** Whether children are kept here: who is in their profile may not touch the account. */
export const isGuarded = () => Boolean(state.profile?.kids && state.account?.pin);

export const profileId = () => state.profile?.profile_id ?? null;

/** The profile as a parameter. */
export const named = () => (state.profile ? { profile_id: state.profile.profile_id } : {});

export const profilePath = () => `/api/profile/${encodeURIComponent(state.profile.profile_id)}`;

function forget() {
  localStorage.removeItem(SIGNED_IN);
  Object.assign(state, { account: null, profiles: [] });
  choose(null);
}

function choose(profile) {
  state.profile = profile?.open ? profile : null;
  telemetry.profileId = profileId();
  document.body.classList.toggle("kids", Boolean(state.profile?.kids));
}

/** Go on as this profile, with a PIN where it wants one; whether it worked. */
export async function enter(profile) {
  await telemetry.flush(); // what is waiting is of the profile that is left
  const send = async (body) => { await post(`/api/profile/${encodeURIComponent(profile.profile_id)}/enter`, body); };
  let isIn = false;
  try {
    await send({});
    isIn = true;
  } catch (refusal) {
    if (refusal.code !== "pin_required") throw refusal;
    isIn = await dialog(t("pin_of", { name: profile.name }), (close) => pinForm((pin) => send({ pin }), close));
  }
  if (isIn) await loadAccount();
  return Boolean(isIn);
}

export async function leave(everywhere = false) {
  await telemetry.flush();
  if (everywhere) await remove("/api/auth/sessions?everywhere=true");
  await post("/api/auth/logout");
  forget();
}

// Who is signed in, and whose profile watches.

import { get, post } from "./api.js";
import { telemetry } from "./telemetry.js";

export const state = { account: null, profiles: [], profile: null };

const SIGNED_IN = "signed-in"; // the cookies are out of reach, so this remembers that there are some

/** After logging in or out: who is it now? */
export async function loadAccount({ entered = false } = {}) {
  if (entered) localStorage.setItem(SIGNED_IN, "yes");
  if (!localStorage.getItem(SIGNED_IN)) return forget();
  try {
    const found = await get("/api/profile");
    state.account = found;
    state.profiles = found.profiles;
    chooseProfile(localStorage.getItem("profile"));
  } catch (refusal) {
    if (refusal.status !== 401) throw refusal;
    forget();
  }
}

function forget() {
  localStorage.removeItem(SIGNED_IN);
  Object.assign(state, { account: null, profiles: [], profile: null });
  telemetry.profileId = null;
}

export function chooseProfile(id) {
  state.profile = state.profiles.find((one) => one.profile_id === id) ?? state.profiles[0] ?? null;
  if (state.profile) localStorage.setItem("profile", state.profile.profile_id);
  telemetry.profileId = state.profile?.profile_id ?? null;
}

export async function leave() {
  await telemetry.flush();
  await post("/api/auth/logout");
  localStorage.removeItem("profile");
  forget();
}

-- Accounts grow up: confirmed addresses, a second factor, sign-in by a code on a TV, sessions that one can see and end.
-- writer of all of it: serving.accounts (and serving.admin for roles and what is disabled)
ALTER TABLE account
    ADD COLUMN language           text NOT NULL DEFAULT 'en' CHECK (language ~ '^[a-z]{2}$'),  -- of letters
    ADD COLUMN email_confirmed_at timestamptz,
    ADD COLUMN disabled_at        timestamptz;
CREATE INDEX account_disabled ON account (disabled_at) WHERE disabled_at IS NOT NULL;
CREATE INDEX account_role ON account (role, account_id) WHERE role <> 'viewer';

-- A refresh token is made of the session, its generation and the seed, under a key of the home: the server knows the last one,
-- the one before, and every older one, without keeping any. Sessions from before this are over: their tokens named no session.
DELETE FROM auth_session;
DROP INDEX auth_session_previous;
ALTER TABLE auth_session
    DROP COLUMN refresh_hash,
    DROP COLUMN previous_hash,
    ADD COLUMN kind             text NOT NULL DEFAULT 'password' CHECK (kind IN ('password', 'tv', 'command')),
    ADD COLUMN device           text NOT NULL DEFAULT '',  -- what its User-Agent says, in few words
    ADD COLUMN seed             bytea NOT NULL CHECK (length(seed) = 32),
    ADD COLUMN generation       int NOT NULL DEFAULT 1,
    ADD COLUMN authenticated_at timestamptz;  -- when a password or second factor was last shown; null: never (a TV)
CREATE INDEX auth_session_revoked ON auth_session (revoked_at) WHERE revoked_at IS NOT NULL;
-- The tokens of these live longer than ten minutes, and so are refused for longer.
CREATE INDEX auth_session_commands ON auth_session (expires_at) WHERE revoked_at IS NOT NULL AND kind = 'command';
CREATE INDEX erased_account_at ON erased_account (erased_at);

-- What was sent by letter and opens one thing once. Only its SHA-256 is here: it has 256 random bits.
CREATE TABLE auth_code (
    code_hash  bytea PRIMARY KEY,
    account_id text NOT NULL REFERENCES account ON DELETE CASCADE,
    purpose    text NOT NULL CHECK (purpose IN ('confirm', 'email', 'reset', 'challenge')),
    email      text,  -- the address that is confirmed by using it
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX auth_code_account ON auth_code (account_id, purpose);
CREATE INDEX auth_code_expires ON auth_code (expires_at);

CREATE TABLE second_factor (
    account_id   text PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    sealed       bytea NOT NULL,  -- the TOTP secret, under the home's sealing key
    last_step    bigint NOT NULL DEFAULT 0,  -- the newest 30 s step of which a code was taken: none is taken twice
    confirmed_at timestamptz  -- null: shown, but no code of it was given yet; it does not count
);

-- HMAC-SHA256 under a key of the home: 80 random bits are too few for a bare hash.
CREATE TABLE recovery_code (
    account_id text NOT NULL REFERENCES account ON DELETE CASCADE,
    code_hash  bytea NOT NULL,
    PRIMARY KEY (account_id, code_hash)
);

-- A device that cannot type asks to be let in (RFC 8628).
CREATE TABLE device_login (
    device_hash bytea PRIMARY KEY,
    user_code   text NOT NULL UNIQUE,
    device      text NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    interval_s  int NOT NULL,  -- grows when the device asks too often
    polled_at   timestamptz,
    account_id  text REFERENCES account ON DELETE CASCADE,  -- who let it in
    denied_at   timestamptz
);
CREATE INDEX device_login_account ON device_login (account_id);
CREATE INDEX device_login_expires ON device_login (expires_at);

-- Who asked to be forgotten: shut out at once, carried out by orchestration.
CREATE TABLE erasure_request (
    account_id   text PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    requested_at timestamptz NOT NULL
);

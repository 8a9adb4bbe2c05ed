-- Who changed a title stands in the audit log, under a name that is forgotten with the account.
ALTER TABLE title_override DROP COLUMN account_id;
CREATE INDEX title_moderated ON title (state, updated_at, title_id);

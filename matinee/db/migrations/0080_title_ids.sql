-- A title's folder in the media store is named by its id: these two would lead out of it. Rows that are there already are not
-- looked at, so that an old database starts.
ALTER TABLE title ADD CONSTRAINT title_id_is_a_name CHECK (title_id NOT IN ('.', '..')) NOT VALID;

-- The log of rights is cleared by transaction, not by time: a change may become visible long after it was made.
DROP INDEX rights_change_made;

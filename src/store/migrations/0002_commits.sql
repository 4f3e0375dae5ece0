-- Commits that somebody told us of, and whether each has its last word.

CREATE TABLE commits (
    repo      TEXT NOT NULL,
    revision  TEXT NOT NULL,
    via       TEXT NOT NULL,    -- refs/heads/main | pull/7 | deployment
    before    TEXT,             -- where the branch was until then
    seen      INTEGER NOT NULL,
    concluded INTEGER,
    verdict   TEXT,
    detail    TEXT,
    PRIMARY KEY (revision, repo, via)
) STRICT, WITHOUT ROWID;
CREATE INDEX commits_open ON commits (seen) WHERE concluded IS NULL;
CREATE INDEX commits_by_ref ON commits (repo, via, seen);

CREATE INDEX deployments_by_report ON deployments (reported_revision);

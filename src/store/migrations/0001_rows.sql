-- Times are microseconds since 1970-01-01 UTC. Names are plain text: the meaning belongs to the callers.

CREATE TABLE deployments (
    id              TEXT PRIMARY KEY NOT NULL, -- UUIDv7: sorts by creation
    project         TEXT NOT NULL,
    environment     TEXT NOT NULL,
    service         TEXT NOT NULL,
    input_digest    TEXT NOT NULL,
    attempt         INTEGER NOT NULL,
    state           TEXT NOT NULL,
    app_revision    TEXT,
    config_revision TEXT,
    artifact        TEXT,                      -- JSON
    cause           TEXT NOT NULL,
    reported_repo   TEXT,
    reported_revision TEXT,
    created         INTEGER NOT NULL,
    started         INTEGER,
    ended           INTEGER,
    error           TEXT,
    hint            TEXT,
    log_next        INTEGER NOT NULL DEFAULT 0, -- offset of the next log line
    UNIQUE (project, environment, service, input_digest, attempt)
) STRICT;
CREATE INDEX deployments_by_service ON deployments (project, environment, service, id);
CREATE INDEX deployments_unfinished ON deployments (id) WHERE ended IS NULL;
CREATE INDEX deployments_by_app_revision ON deployments (app_revision);
CREATE INDEX deployments_by_config_revision ON deployments (config_revision);

CREATE TABLE steps (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    position   INTEGER NOT NULL,
    state      TEXT NOT NULL,
    started    INTEGER,
    ended      INTEGER,
    detail     TEXT,
    PRIMARY KEY (deployment, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE log_lines (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    "offset"   INTEGER NOT NULL,
    step       TEXT NOT NULL,
    stream     TEXT NOT NULL,
    time       INTEGER NOT NULL,
    line       TEXT NOT NULL,
    PRIMARY KEY (deployment, "offset")
) STRICT, WITHOUT ROWID;

CREATE TABLE log_sizes (
    deployment TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    step       TEXT NOT NULL,
    bytes      INTEGER NOT NULL,
    cut        INTEGER NOT NULL,
    PRIMARY KEY (deployment, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE services (
    project         TEXT NOT NULL,
    environment     TEXT NOT NULL,
    service         TEXT NOT NULL,
    state           TEXT NOT NULL,
    message         TEXT NOT NULL,
    live_deployment TEXT,
    detail          TEXT,                      -- JSON
    updated         INTEGER NOT NULL,
    PRIMARY KEY (project, environment, service)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project     TEXT NOT NULL,
    environment TEXT,
    service     TEXT,
    time        INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    actor       TEXT,
    message     TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_service ON events (project, environment, service, id);

CREATE TABLE verdicts (
    repo        TEXT NOT NULL,
    revision    TEXT NOT NULL,
    project     TEXT NOT NULL,
    environment TEXT NOT NULL,
    service     TEXT NOT NULL,
    verdict     TEXT NOT NULL,
    detail      TEXT,
    time        INTEGER NOT NULL,
    PRIMARY KEY (revision, repo, project, environment, service)
) STRICT, WITHOUT ROWID;
CREATE INDEX verdicts_by_service ON verdicts (project, environment, service, time);

CREATE TABLE inbox (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    source      TEXT NOT NULL,
    delivery    TEXT NOT NULL,
    event       TEXT NOT NULL,
    body        BLOB,                          -- dropped once handled
    body_digest BLOB NOT NULL,                 -- SHA-256
    received    INTEGER NOT NULL,
    state       TEXT NOT NULL,                 -- waiting | done | quarantined
    tries       INTEGER NOT NULL DEFAULT 0,
    error       TEXT,
    UNIQUE (source, delivery)
) STRICT;
CREATE INDEX inbox_unhandled ON inbox (state, seq) WHERE state <> 'done';
CREATE INDEX inbox_by_time ON inbox (received);

CREATE TABLE outbox (
    key           TEXT PRIMARY KEY NOT NULL,
    channel       TEXT NOT NULL,
    kind          TEXT NOT NULL,
    payload       TEXT NOT NULL,               -- JSON
    version       INTEGER NOT NULL,
    sent_version  INTEGER NOT NULL DEFAULT 0,
    external_id   TEXT,
    tries         INTEGER NOT NULL DEFAULT 0,
    not_before    INTEGER NOT NULL,
    claimed_until INTEGER NOT NULL DEFAULT 0,
    error         TEXT,
    changed       INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_unsent ON outbox (channel, not_before) WHERE version > sent_version;
CREATE INDEX outbox_by_time ON outbox (changed);

CREATE TABLE kv (
    space TEXT NOT NULL,
    key   TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;

/** Characters of a key in the index on names, whose entries have at most 2,700 bytes. The index has byte order. */
export const INDEXED = 128
export const NAME = `left(key, ${INDEXED}) COLLATE "C"`

/**
 * The statements that create the tables: heads (one row per key of the journal), their snapshots, the log, plain
 * values, messages that are too long for a notification, and buckets of limits. Rows are found by the SHA-256 of the
 * key, which may have any characters and any length. Heads are small and updated in place, so the cost of a commit does
 * not depend on the size of the value.
 */
export function createTables (tableName: string, unlogged: boolean): string {
  const t = tablesOf(tableName)
  const create = `CREATE ${unlogged ? 'UNLOGGED ' : ''}TABLE IF NOT EXISTS`
  return `
${create} ${t.heads} (
  hash bytea PRIMARY KEY, key text NOT NULL, epoch text NOT NULL, version bigint NOT NULL, id text NOT NULL, live boolean NOT NULL,
  snapshot_version bigint NOT NULL, log_start bigint NOT NULL, start_id text NOT NULL, log_bytes bigint NOT NULL,
  expires_at timestamptz
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS ${t.headsAt} ON ${t.heads} (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS ${namesIndex(t)};
${create} ${t.snapshots} (hash bytea PRIMARY KEY, value text NOT NULL);
${create} ${t.log} (hash bytea NOT NULL, version bigint NOT NULL, id text NOT NULL, patches text, PRIMARY KEY (hash, version));
${create} ${t.values} (hash bytea PRIMARY KEY, value text NOT NULL, expires_at timestamptz);
CREATE INDEX IF NOT EXISTS ${t.valuesAt} ON ${t.values} (expires_at) WHERE expires_at IS NOT NULL;
${create} ${t.messages} (id bigserial PRIMARY KEY, body text NOT NULL, sent_at timestamptz NOT NULL DEFAULT now());
${create} ${t.buckets} (hash bytea PRIMARY KEY, ticks bigint[] NOT NULL, costs bigint[] NOT NULL, outcome bigint[] NOT NULL, expires_at timestamptz NOT NULL) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS ${t.bucketsAt} ON ${t.buckets} (expires_at);
`.trim()
}

export interface IndexStatements { setUp: string, lock: string, isBroken: string, drop: string, build: string }

/** The statements that add the index on names to existing tables. */
export function indexStatements (tableName: string): IndexStatements {
  const t = tablesOf(tableName)
  return {
    // no timeout, because a build that times out leaves an invalid index
    setUp: 'SET statement_timeout = 0; SET lock_timeout = 0',
    lock: `SELECT pg_try_advisory_lock(hashtext('datasole'), hashtext('${tableName}')) AS locked`,
    isBroken: `SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('${tableName}_names') AND NOT indisvalid) AS broken`,
    drop: `DROP INDEX CONCURRENTLY ${t.namesInSchema}`,
    build: `CREATE INDEX CONCURRENTLY IF NOT EXISTS ${namesIndex(t)}`
  }
}

function namesIndex (t: { names: string, heads: string }): string {
  return `${t.names} ON ${t.heads} (${NAME}) WHERE live`
}

export function tablesOf (tableName: string) {
  const named = (suffix: string): string => `${tableName}${suffix}`.split('.').map((part) => `"${part}"`).join('.')
  // the name of an index has no schema: an index is in the schema of its table
  const index = (suffix: string): string => `"${tableName.split('.').at(-1)!}${suffix}"`
  return {
    heads: named(''),
    headsAt: index('_at'),
    names: index('_names'),
    namesInSchema: named('_names'),
    snapshots: named('_snapshots'),
    log: named('_log'),
    values: named('_values'),
    valuesAt: index('_values_at'),
    messages: named('_messages'),
    buckets: named('_buckets'),
    bucketsAt: index('_buckets_at')
  }
}

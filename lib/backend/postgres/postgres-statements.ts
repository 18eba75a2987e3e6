import { createHash } from 'node:crypto'
import { NAME, tablesOf } from './postgres-tables.js'

/** A prepared statement. Each connection keeps its plan by the name. */
export interface Statement { name: string, text: string }

/** Keys per step of a sweep; below, keys per step of `adoptDeleted`. */
export const SWEEP = 100
const ADOPTED = 10_000

/**
 * A term in seconds, by the server's clock. A key without a value is in the epoch "history id:term". Commits on it are
 * accepted in that term and the next one, and a deleted key is remembered for three terms. So a commit from before the
 * key last had a value is refused, however late it arrives, and no epoch returns. The third term allows for clocks that
 * go back, and for replicas that take over.
 */
export const TERM = 20
export const REMEMBERED_TERMS = 3

export type Statements = ReturnType<typeof statementsOf>

export function sha256 (text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** Hash of the row with the history id. Keys are hashed as JSON texts, so no key has this hash. */
export const HISTORY = sha256('history')
/** Hash of a marker row: it exists once the keys that older versions deleted have an expiry. */
export const ADOPTED_DELETED = sha256('deleted')

/** @param term seconds: see TERM */
export function statementsOf (tableName: string, term = TERM) {
  const t = tablesOf(tableName)
  const isThere = '(expires_at > now()) IS NOT FALSE'
  const epochAt = (ago: number): string => `history.value || ':' || floor(extract(epoch FROM now()) / ${term})::bigint - ${ago}`
  /** Whether commits on a key without a value are accepted in the epoch $4; $3 is the hash of the history's row. */
  const isAbsent = `EXISTS (SELECT FROM ${t.values} AS history WHERE history.hash = $3 AND $4 IN (${epochAt(0)}, ${epochAt(1)}))`
  const remembered = `now() + ${REMEMBERED_TERMS * term} * interval '1 s'`
  const forget = (which: string): string => `
      WITH gone AS (DELETE FROM ${t.heads} WHERE ${which} RETURNING hash),
      logs AS (DELETE FROM ${t.log} AS log USING gone WHERE log.hash = gone.hash),
      snapshots AS (DELETE FROM ${t.snapshots} AS snapshot USING gone WHERE snapshot.hash = gone.hash)`
  return {
    /** $1 hash of the history's row, $2 a new id. */
    makeHistory: statement(`INSERT INTO ${t.values} (hash, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`),

    /**
     * $1 hash, $2 key, $3 hash of the history's row, $4 base epoch, $5 base version, $6 base id, $7 live, $8 ids,
     * $9 patches, $10 bytes of log that follow the snapshot, $11 channel, $12 notice after its live flag,
     * $13 snapshot's version or null, $14 snapshot, $15 ms until the key expires or null. One row if it was accepted.
     */
    commit: statement(`
      WITH changed AS (
        UPDATE ${t.heads} SET
          version = version + cardinality($8::text[]), id = coalesce(($8::text[])[cardinality($8::text[])], id), live = live OR $7::boolean,
          snapshot_version = coalesce($13::bigint, snapshot_version),
          log_bytes = CASE WHEN $13::bigint IS NULL THEN log_bytes ELSE 0 END + $10::bigint,
          log_start = CASE WHEN $7::boolean AND NOT live AND $13::bigint IS NOT NULL THEN $13::bigint ELSE log_start END,
          start_id = CASE WHEN $7::boolean AND NOT live AND $13::bigint IS NOT NULL THEN coalesce(($8::text[])[$13::bigint - $5::bigint], $6) ELSE start_id END,
          expires_at = now() + $15::float8 * interval '1 ms'
        WHERE hash = $1 AND ${isThere} AND epoch = $4 AND version = $5::bigint AND id = $6
        RETURNING epoch, version, live, log_bytes
      ), created AS (
        INSERT INTO ${t.heads} (hash, key, epoch, version, id, live, snapshot_version, log_start, start_id, log_bytes, expires_at)
        SELECT $1, $2, $4, cardinality($8::text[]), coalesce(($8::text[])[cardinality($8::text[])], ''), $7::boolean, coalesce($13::bigint, 0),
          CASE WHEN $7::boolean THEN coalesce($13::bigint, 0) ELSE 0 END,
          CASE WHEN $7::boolean THEN coalesce(($8::text[])[$13::bigint], '') ELSE '' END, $10::bigint, now() + $15::float8 * interval '1 ms'
        WHERE $5::bigint = 0 AND ${isAbsent} AND NOT EXISTS (SELECT FROM changed)
        ON CONFLICT DO NOTHING
        RETURNING epoch, version, live, log_bytes
      ), accepted AS (
        SELECT * FROM changed UNION ALL SELECT * FROM created
      ), logged AS (
        INSERT INTO ${t.log} (hash, version, id, patches)
        SELECT $1, $5::bigint + n, entry.id, patches FROM accepted, unnest($8::text[], $9::text[]) WITH ORDINALITY AS entry (id, patches, n)
      ), compacted AS (
        INSERT INTO ${t.snapshots} (hash, value) SELECT $1, $14::text FROM accepted WHERE $13::bigint IS NOT NULL
        ON CONFLICT (hash) DO UPDATE SET value = excluded.value
      )
      SELECT epoch, version, log_bytes, pg_notify($11, 'n' || live::int || E'\\n' || $12) FROM accepted`),

    /**
     * $1 hash, $2 base epoch, $3 base version, $4 base id, $5 new epoch, $6 value or null, $7 id, $8 channel, $9 notice
     * after its live flag, $10 ms until the key expires or null. One row if it was accepted.
     */
    reset: statement(`
      WITH accepted AS (
        UPDATE ${t.heads} SET
          epoch = $5, version = ($6::text IS NOT NULL)::int, id = CASE WHEN $6::text IS NULL THEN '' ELSE $7 END, live = live AND $6::text IS NOT NULL,
          snapshot_version = ($6::text IS NOT NULL)::int, log_start = ($6::text IS NOT NULL)::int,
          start_id = CASE WHEN $6::text IS NULL THEN '' ELSE $7 END, log_bytes = 0,
          expires_at = CASE WHEN $6::text IS NULL THEN ${remembered} ELSE now() + $10::float8 * interval '1 ms' END
        WHERE hash = $1 AND ${isThere} AND epoch = $2 AND version = $3::bigint AND id = $4
        RETURNING epoch, version, live, log_bytes
      ), emptied AS (
        DELETE FROM ${t.log} USING accepted WHERE hash = $1
      ), forgotten AS (
        DELETE FROM ${t.snapshots} USING accepted WHERE hash = $1 AND $6::text IS NULL
      ), compacted AS (
        INSERT INTO ${t.snapshots} (hash, value) SELECT $1, $6::text FROM accepted WHERE $6::text IS NOT NULL
        ON CONFLICT (hash) DO UPDATE SET value = excluded.value
      )
      SELECT epoch, version, log_bytes, pg_notify($8, 'n' || live::int || E'\\n' || $9) FROM accepted`),

    /** $1 hash, $2 key, $3 hash of the history's row, $4 its epoch. Creates a row for a lost key, for `reset`. */
    tombstone: statement(`
      INSERT INTO ${t.heads} (hash, key, epoch, version, id, live, snapshot_version, log_start, start_id, log_bytes, expires_at)
      SELECT $1, $2, $4, 0, '', false, 0, 0, '', 0, ${remembered} WHERE ${isAbsent} ON CONFLICT DO NOTHING`),

    /** $1 hash, $2 hash of the history's row, the reader's $3 epoch, $4 version, $5 id. */
    read: statement(`
      WITH head AS (
        SELECT *, CASE $4::bigint WHEN version THEN id WHEN log_start THEN start_id ELSE (
          SELECT log.id FROM ${t.log} AS log WHERE log.hash = $1 AND log.version = $4::bigint
        ) END AS known FROM ${t.heads} WHERE hash = $1 AND ${isThere}
      ), reader AS (
        SELECT *, epoch = $3 AND ($4::bigint > version OR known <> $5) AS lost,
          coalesce(epoch = $3 AND $4::bigint BETWEEN log_start AND version AND known = $5, false) AS connects FROM head
      )
      SELECT CASE WHEN $3 = ${epochAt(1)} THEN $3 ELSE ${epochAt(0)} END AS absent, reader.*, CASE WHEN NOT connects THEN (SELECT value FROM ${t.snapshots} WHERE hash = $1) END AS snapshot, ids, patches
      FROM (SELECT) AS always
      LEFT JOIN ${t.values} AS history ON history.hash = $2
      LEFT JOIN reader ON true
      LEFT JOIN LATERAL (
        SELECT array_agg(log.id ORDER BY log.version) AS ids, array_agg(log.patches ORDER BY log.version) AS patches
        FROM ${t.log} AS log WHERE log.hash = $1 AND log.version > CASE WHEN connects THEN $4::bigint ELSE snapshot_version END
      ) AS entries ON true`),

    /** $1 hash. Deletes an expired key, so that it can be created again. */
    forget: statement(`${forget('hash = $1 AND expires_at <= now()')} SELECT true FROM gone`),
    /** $1 hash of the marker row. Gives keys an expiry that older versions deleted and kept. One row for each key. */
    adoptDeleted: statement(`
      WITH old AS (
        SELECT hash FROM ${t.heads} WHERE version = 0 AND expires_at IS NULL AND NOT EXISTS (SELECT FROM ${t.values} WHERE hash = $1) LIMIT ${ADOPTED} FOR UPDATE SKIP LOCKED
      ), done AS (
        INSERT INTO ${t.values} (hash, value) SELECT $1, '' WHERE NOT EXISTS (SELECT FROM old) ON CONFLICT DO NOTHING
      )
      UPDATE ${t.heads} AS head SET expires_at = ${remembered} FROM old WHERE head.hash = old.hash RETURNING true`),
    /** Deletes some expired keys. One row for each. */
    sweep: statement(`${forget(`hash IN (SELECT hash FROM ${t.heads} WHERE expires_at < now() ORDER BY expires_at LIMIT ${SWEEP} FOR UPDATE SKIP LOCKED)`)} SELECT true FROM gone`),

    /** $1 hash, $2 version. Returns the id of its commit. */
    idAt: statement(`SELECT id FROM ${t.log} WHERE hash = $1 AND version = $2::bigint`),

    /** $1 first name, $2 the name after the last one. */
    liveKeys: statement(`SELECT key FROM ${t.heads} WHERE live AND ${isThere} AND ${NAME} >= $1 AND ${NAME} < $2`),

    /**
     * $1 hash, $2 epoch, $3 bytes to keep at least, $4 most commits to keep. Drops commits from the log that are older
     * than the snapshot and not needed for recovery. The ids of the last commits stay.
     */
    compact: statement(`
      WITH cut AS (
        SELECT version, id FROM (
          SELECT log.version, log.id, row_number() OVER newest AS n, sum(octet_length(patches)) OVER newest - octet_length(patches) AS newer
          FROM ${t.log} AS log WHERE hash = $1 AND patches IS NOT NULL WINDOW newest AS (ORDER BY log.version DESC)
        ) AS entries
        WHERE (newer >= $3::bigint OR n > $4::bigint) AND version <= (SELECT snapshot_version FROM ${t.heads} WHERE hash = $1)
        ORDER BY version DESC LIMIT 1
      ), moved AS (
        UPDATE ${t.heads} AS head SET log_start = cut.version, start_id = cut.id
        FROM cut WHERE head.hash = $1 AND head.epoch = $2 AND head.log_start < cut.version
        RETURNING head.log_start, head.version
      ), started AS (
        SELECT log_start, version FROM moved
        UNION ALL SELECT log_start, version FROM ${t.heads} WHERE hash = $1 AND epoch = $2 AND NOT EXISTS (SELECT FROM moved)
      ), emptied AS (
        UPDATE ${t.log} AS log SET patches = NULL FROM started
        WHERE log.hash = $1 AND log.version <= log_start AND log.version > started.version - $4::bigint AND patches IS NOT NULL
      )
      DELETE FROM ${t.log} AS log USING started
      WHERE log.hash = $1 AND log.version <= log_start AND log.version <= started.version - $4::bigint`),

    /** $1 channels, $2 texts. */
    notify: statement('SELECT count(pg_notify(channel, message)) FROM unnest($1::text[], $2::text[]) AS messages (channel, message)'),

    /** $1 channel, $2 text that is too long for a notification. The notification contains the id of the message. */
    post: statement(`
      WITH posted AS (INSERT INTO ${t.messages} (body) VALUES ($2) RETURNING id),
      swept AS (DELETE FROM ${t.messages} WHERE sent_at < now() - interval '1 minute' AND id IN (SELECT id FROM ${t.messages} ORDER BY id LIMIT 10 FOR UPDATE SKIP LOCKED))
      SELECT pg_notify($1, 'm' || id) FROM posted`),
    fetch: statement(`SELECT body FROM ${t.messages} WHERE id = $1::bigint`),

    get: statement(`SELECT value FROM ${t.values} WHERE hash = $1 AND (expires_at > now()) IS NOT FALSE`),
    set: statement(`INSERT INTO ${t.values} (hash, value) VALUES ($1, $2) ON CONFLICT (hash) DO UPDATE SET value = excluded.value, expires_at = NULL`),
    delete: statement(`
      WITH emptied AS (DELETE FROM ${t.buckets} WHERE hash = $1)
      DELETE FROM ${t.values} WHERE hash = $1 RETURNING (expires_at > now()) IS NOT FALSE AS existed`),
    /** $1 hash, $2 ms. Also deletes some expired values. */
    expire: statement(`
      WITH swept AS (DELETE FROM ${t.values} WHERE hash IN (SELECT hash FROM ${t.values} WHERE expires_at < now() AND hash <> $1 ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED))
      UPDATE ${t.values} SET expires_at = now() + $2::float8 * interval '1 ms' WHERE hash = $1 AND (expires_at > now()) IS NOT FALSE RETURNING true`),

    makeBucket: statement(`
      WITH swept AS (DELETE FROM ${t.buckets} WHERE hash IN (SELECT hash FROM ${t.buckets} WHERE expires_at < now() AND hash <> $1 ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED))
      INSERT INTO ${t.buckets} (hash, ticks, costs, outcome, expires_at) VALUES ($1, '{}', '{}', '{}', now() + interval '1 minute') ON CONFLICT DO NOTHING`),
    /**
     * $1 hash, $2 window (ms), $3 maximum, $4 cost. The outcome is allowed, remaining, ms until the bucket is empty, ms
     * until the cost fits. If the clock went back by more than a second, everything admitted counts as of now. The row
     * may outlive its last cost: each change of the indexed `expires_at` costs an index entry, so it changes rarely.
     */
    consume: statement(`
      WITH bucket AS (
        SELECT ticks, costs FROM ${t.buckets} WHERE hash = $1 FOR UPDATE
      ), clock AS (
        SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now, ticks[cardinality(ticks)] AS last FROM bucket
      ), moment AS (
        SELECT CASE WHEN last BETWEEN now AND now + 1000 THEN last ELSE now END AS now, coalesce(last > now + 1000, false) AS went_back FROM clock
      ), runs AS (
        SELECT CASE WHEN went_back THEN now ELSE tick END AS tick, cost FROM bucket, moment, unnest(ticks, costs) AS run (tick, cost)
        WHERE went_back OR tick > now - $2::bigint
      ), verdict AS (
        SELECT coalesce(sum(cost), 0) + greatest($4::bigint, 1) - $3::bigint AS excess FROM runs
      ), merged AS (
        SELECT tick, sum(cost)::bigint AS cost FROM (
          SELECT tick, cost FROM runs UNION ALL SELECT now, $4::bigint FROM moment, verdict WHERE excess <= 0 AND $4::bigint > 0
        ) AS next GROUP BY tick
      ), counted AS (
        SELECT coalesce(array_agg(tick ORDER BY tick), '{}') AS ticks, coalesce(array_agg(cost ORDER BY tick), '{}') AS costs,
          coalesce(sum(cost), 0) AS used, max(tick) AS last FROM merged
      ), leaving AS (
        SELECT tick, sum(cost) OVER (ORDER BY tick) AS gone FROM merged
      )
      UPDATE ${t.buckets} AS stored SET ticks = counted.ticks, costs = counted.costs,
        expires_at = CASE WHEN expires_at > now() + $2::float8 * interval '1 ms' THEN expires_at ELSE now() + interval '1 minute' + 2 * $2::float8 * interval '1 ms' END,
        outcome = ARRAY[
        (excess <= 0)::int, $3::bigint - used, coalesce(last + $2::bigint - moment.now, 0),
        coalesce((SELECT min(tick) FROM leaving WHERE gone >= excess) - moment.now, 0) + $2::bigint
      ]
      FROM counted, verdict, moment WHERE hash = $1 RETURNING outcome`)
  }
}

function statement (text: string): Statement {
  return { name: `datasole_${createHash('sha1').update(text).digest('hex').slice(0, 16)}`, text }
}

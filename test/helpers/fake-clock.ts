import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The wall clock of a server that is started `under` it; its monotonic clock is left alone. */
export class FakeClock {
  readonly under: string[]
  readonly #file: string

  /** It starts at the right time, and runs. */
  constructor (t: { teardown (fn: () => unknown): void }) {
    const folder = mkdtempSync(join(process.getuid?.() === 0 ? '/tmp' : tmpdir(), 'datasole-clock-'))
    // the user that Postgres runs as, where we are root, has to get there
    chmodSync(folder, 0o755)
    t.teardown(() => { rmSync(folder, { recursive: true }) })
    this.#file = join(folder, 'now')
    this.under = [
      'env',
      // the C library's malloc: one that reads the clock while it starts would never end
      `LD_PRELOAD=${process.env.LIBFAKETIME} libc.so.6`,
      `FAKETIME_TIMESTAMP_FILE=${this.#file}`,
      'FAKETIME_NO_CACHE=1',
      'FAKETIME_DONT_FAKE_MONOTONIC=1',
      'DONT_FAKE_MONOTONIC=1',
      'TZ=UTC',
      // only what is started by a program with a fake clock looks at the file again
      'env'
    ]
    this.runAt(0)
  }

  /** It runs, so many seconds ahead of the right time. */
  runAt (offset: number): void {
    this.#write(`${offset < 0 ? '' : '+'}${offset}`)
  }

  /** It stands still at so many seconds after 2030. */
  standAt (seconds: number): void {
    this.#write(new Date(Date.UTC(2030) + seconds * 1000).toISOString().slice(0, 19).replace('T', ' '))
  }

  #write (text: string): void {
    // at no moment is it half there
    writeFileSync(`${this.#file}.new`, `${text}\n`, { mode: 0o644 })
    renameSync(`${this.#file}.new`, this.#file)
  }
}

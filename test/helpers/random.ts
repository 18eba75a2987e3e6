/** The seed of this run: `SEED` repeats one. */
export const seed = Number(process.env.SEED ?? Math.trunc(Math.random() * 2 ** 31))

/** mulberry32: small, seeded, good enough to shuffle with. */
export function randomOf (state: number): (below: number) => number {
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) % below
  }
}

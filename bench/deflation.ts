import { deflateSync } from 'node:zlib'
import { Opcode } from '../lib/protocol/opcodes.js'
import { encodeMessage } from '../lib/server/connection/encoding.js'
import { quantile } from './compare.js'
import { records } from './records.js'
import { Subject } from './subject.js'

/** CPU times in µs: `own` is compression by `deflateSync`, which makes a zlib stream for each frame. */
export interface Deflation { bytes: number, deflated: number, plain: number, compressed: number, own: number }

const ROUNDS = 21
const FRAMES = 200

/** The cost of encoding an event, as it is and compressed. It is paid once for all receivers. */
export function deflation (): Deflation[] {
  return [11, 43, 85, 170].map((count) => {
    const text = JSON.stringify({ event: 'tick', data: { records: records(count) }, timestamp: 1_700_000_000_000 })
    const encode = (threshold: number): Buffer => encodeMessage(Opcode.EVENT_S2C, 0, text, threshold)
    const ways = [() => encode(Infinity), () => encode(0), () => deflateSync(encode(Infinity), { level: 1 })]
    const times: number[][] = ways.map(() => [])
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, way] of ways.entries()) {
        const before = process.cpuUsage()
        for (let n = 0; n < FRAMES; n++) way()
        const { user, system } = process.cpuUsage(before)
        times[i]!.push((user + system) / FRAMES)
      }
    }
    const [plain, compressed, own] = times.map((each) => quantile(each, 0.5)) as [number, number, number]
    return { bytes: encode(Infinity).length, deflated: encode(0).length, plain, compressed, own }
  })
}

const CONNECTIONS = 500
const BROADCASTS = 40

/** Server CPU (µs) for each that gets an event of 8 KB, as it is and compressed. */
export async function receivers (): Promise<{ plain: number, compressed: number }> {
  const subjects = [await new Subject('datasole', { COMPRESSION: 'off' }).start(), await new Subject('datasole').start()]
  try {
    const costs: number[][] = [[], []]
    for (const subject of subjects) await subject.connect(CONNECTIONS)
    for (let round = 0; round < 9; round++) {
      for (const [i, subject] of subjects.entries()) {
        const cost = await subject.cost(() => subject.rounds(BROADCASTS, { do: 'publish', records: 85 }))
        if (round > 1) costs[i]!.push(cost / BROADCASTS / CONNECTIONS)
      }
    }
    const [plain, compressed] = costs.map((each) => quantile(each, 0.5)) as [number, number]
    return { plain, compressed }
  } finally {
    for (const subject of subjects) await subject.stop()
  }
}

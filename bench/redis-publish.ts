import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import { Redis } from 'ioredis'
import { RedisServer } from '../test/helpers/redis-server.js'

const RECEIVERS = [0, 1, 8, 31]
const PUBLICATIONS = 60_000
/** Clients, and commands that each sends at once. */
const CLIENTS = 16
const PIPELINE = 16
/** As long as a broadcast of 100 bytes between nodes. */
const MESSAGE = 'x'.repeat(220)

/** µs of Redis's CPU for each publication, when Redis has no rest. */
export interface PublishCost { receivers: number, alone: number, pipelined: number }

/** Publications of raw sockets: what Redis itself needs, whoever sends and receives. */
export async function redisPublish (): Promise<PublishCost[]> {
  const redis = await RedisServer.start()
  const admin = new Redis(redis.url)
  const cpu = async (): Promise<number> => {
    const info = await admin.info('cpu')
    return ['used_cpu_user', 'used_cpu_sys'].reduce((sum, name) => sum + Number(new RegExp(`^${name}:(.*)`, 'm').exec(info)![1]) * 1e6, 0)
  }
  const open = async (): Promise<Socket> => {
    const socket = connect(redis.port, '127.0.0.1')
    await once(socket, 'connect')
    return socket
  }
  const subscribers: Socket[] = []
  const results: PublishCost[] = []
  try {
    for (const receivers of RECEIVERS) {
      while (subscribers.length < receivers) {
        const socket = await open()
        socket.write('SUBSCRIBE channel\r\n')
        await once(socket, 'data')
        socket.resume()
        subscribers.push(socket)
      }
      const costs: number[] = []
      for (const pipeline of [1, PIPELINE]) {
        const before = await cpu()
        await Promise.all(Array.from({ length: CLIENTS }, async () => { await publish(await open(), pipeline, PUBLICATIONS / CLIENTS / pipeline) }))
        costs.push((await cpu() - before) / PUBLICATIONS)
      }
      results.push({ receivers, alone: costs[0]!, pipelined: costs[1]! })
    }
    return results
  } finally {
    for (const socket of subscribers) socket.destroy()
    admin.disconnect()
    await redis.close()
  }
}

/** Sends a batch whenever the one before is answered. */
async function publish (socket: Socket, pipeline: number, batches: number): Promise<void> {
  const batch = `*3\r\n$7\r\nPUBLISH\r\n$7\r\nchannel\r\n$${MESSAGE.length}\r\n${MESSAGE}\r\n`.repeat(pipeline)
  for (let i = 0; i < batches; i++) {
    socket.write(batch)
    for (let answers = 0; answers < pipeline;) {
      const [data] = await once(socket, 'data') as [Buffer]
      for (const byte of data) if (byte === 0x3a) answers++ // each answer is a number, and begins with a colon
    }
  }
  socket.destroy()
}

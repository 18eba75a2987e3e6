import { Redis } from 'ioredis'

/** Two nodes by hand: events as JSON on a channel of Redis, sent on by every node. */
export async function openRelay (url: string, send: (data: unknown) => void): Promise<(data: unknown) => void> {
  const [publisher, subscriber] = [new Redis(url), new Redis(url)]
  await subscriber.subscribe('tick')
  subscriber.on('message', (_channel, text) => { send(JSON.parse(text)) })
  return (data) => { void publisher.publish('tick', JSON.stringify(data)) }
}

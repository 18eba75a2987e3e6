import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'

/** A value of ASN.1 in DER (ITU-T X.690): tag, length, contents. */
function der (tag: number, ...contents: Buffer[]): Buffer {
  const body = Buffer.concat(contents)
  const { length } = body
  return Buffer.concat([Buffer.from(length < 128 ? [tag, length] : [tag, 0x82, length >> 8, length & 255]), body])
}

const [INTEGER, BITS, OCTETS, OID, UTF8, TIME, SEQUENCE, SET] = [0x02, 0x03, 0x04, 0x06, 0x0c, 0x17, 0x30, 0x31] as const
const oid = (hex: string): Buffer => der(OID, Buffer.from(hex, 'hex'))
const time = (at: number): Buffer => der(TIME, Buffer.from(`${new Date(at).toISOString().slice(2, 19).replaceAll(/\D/g, '')}Z`))
const pem = (label: string, bytes: Buffer): string => `-----BEGIN ${label}-----\n${bytes.toString('base64').replaceAll(/.{64}/g, '$&\n')}\n-----END ${label}-----\n`

/** A key and its certificate (RFC 5280), signed by itself, for `localhost` and 127.0.0.1, for an hour. */
export function selfSigned (): { key: string, cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const ecdsaWithSha256 = der(SEQUENCE, oid('2a8648ce3d040302'))
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, oid('550403'), der(UTF8, Buffer.from('localhost')))))
  const alternatives = der(SEQUENCE, der(0x82, Buffer.from('localhost')), der(0x87, Buffer.from([127, 0, 0, 1])))
  const extensions = der(0xa3, der(SEQUENCE, der(SEQUENCE, oid('551d11'), der(OCTETS, alternatives))))
  const now = Date.now()
  const body = der(SEQUENCE,
    der(0xa0, der(INTEGER, Buffer.from([2]))), // version 3
    der(INTEGER, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ecdsaWithSha256, name, der(SEQUENCE, time(now - 3_600_000), time(now + 3_600_000)), name,
    publicKey.export({ type: 'spki', format: 'der' }), extensions)
  const signature = der(BITS, Buffer.from([0]), sign('sha256', body, privateKey))
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: pem('CERTIFICATE', der(SEQUENCE, body, ecdsaWithSha256, signature))
  }
}

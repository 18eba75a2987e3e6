/** CRC16 of XMODEM, by which Redis Cluster spreads keys over 16,384 slots (Redis Cluster specification, appendix A). */
function slotOf (tag: string): number {
  let crc = 0
  for (const byte of Buffer.from(tag)) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021
  }
  return crc & 0x3fff
}

/** Enough attempts to find a name for a master with only one slot, except for one case in a million. */
const MAX_TRIES = 16 * 16_384

/**
 * Makes one name for each master, which no key has.
 * @param slots the `slots` of a Cluster client
 */
export function nameOnEach (slots: string[][]): string[] {
  const masters = new Set<string>()
  // the array has holes for unassigned slots
  slots.forEach(([master]) => { if (master !== undefined) masters.add(master) })
  const names = []
  for (let i = 0; masters.size > 0 && i < MAX_TRIES; i++) if (masters.delete(slots[slotOf(String(i))]?.[0] ?? '')) names.push(`{${i}}`)
  return names
}

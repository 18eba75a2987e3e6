/** A worker script that does not load. */
export default function (): void {
  throw new Error('the script fails')
}

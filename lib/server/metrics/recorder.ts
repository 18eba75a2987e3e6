/** The durations that a server measures while somebody records them. */
export type DurationName = 'rpc' | 'event' | 'queue' | 'commit' | 'fanout'

/** Takes the durations of a server, as they are measured. It must neither throw nor wait. */
export interface Recorder {
  /**
   * @param label of `rpc` a registered method, of `event` an event with a handler, else one of a few fixed words
   * @param ms how long it took
   * @param hasFailed of a call, whether it was answered with an error
   */
  observe (name: DurationName, label: string, ms: number, hasFailed?: boolean): void
}

/** Recorders that record at once, in order. */
export class Recorders implements Recorder {
  constructor (readonly all: readonly Recorder[]) {}

  observe (name: DurationName, label: string, ms: number, hasFailed?: boolean): void {
    for (const recorder of this.all) recorder.observe(name, label, ms, hasFailed)
  }
}

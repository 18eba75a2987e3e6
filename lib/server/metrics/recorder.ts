/** The names of the durations that a server measures while there is a recorder. */
export type DurationName = 'rpc' | 'event' | 'queue' | 'commit' | 'fanout'

/** Gets the durations of a server. It must neither throw nor wait. */
export interface Recorder {
  /**
   * @param label for `rpc` a registered method, for `event` an event with a handler, else one of a few fixed words
   * @param ms the duration
   * @param hasFailed for a call, whether it was answered with an error
   */
  observe (name: DurationName, label: string, ms: number, hasFailed?: boolean): void
}

/** Several recorders as one, called in order. */
export class Recorders implements Recorder {
  constructor (readonly all: readonly Recorder[]) {}

  observe (name: DurationName, label: string, ms: number, hasFailed?: boolean): void {
    for (const recorder of this.all) recorder.observe(name, label, ms, hasFailed)
  }
}

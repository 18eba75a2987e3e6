/** Base of the timestamps in compact events (Unix time in ms). All connections of the process share it. */
export const TIME_BASE = Date.now()

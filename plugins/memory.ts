import { MemoryBackend } from '../lib/backend/memory/memory.js'
import { define } from './define.js'

/** Gives a scope a memory backend, for its values, sessions, rate limits and events. It has no options. */
export default define<object>('datasole/memory', ({ core, scope, plugin }) => core.provideBackend(scope, new MemoryBackend(), plugin))

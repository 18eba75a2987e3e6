import { MemoryBackend } from '../lib/backend/memory/memory.js'
import { define } from './define.js'

/** Keeps the values, sessions and limits of a scope, and its events, in this process. It has no options. */
export default define<object>('datasole/memory', ({ core, scope, plugin }) => core.provideBackend(scope, new MemoryBackend(), plugin))

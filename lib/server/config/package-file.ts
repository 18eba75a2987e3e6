import { existsSync } from 'node:fs'
import { DatasoleError } from '../../protocol/errors.js'

/**
 * Finds a file of this package that is read or loaded at run time. Call it when the file is needed, not at import:
 * if a bundler has put the server into one file, the files and `import.meta.url` may be missing.
 * @param path from the folder of the compiled code: `lib/executor/thread/worker-thread.js`
 * @throws DatasoleError `PACKAGE_FILE_MISSING`
 */
export function packageFile (path: string): URL {
  const here = import.meta.url as string | undefined // bundlers that write CommonJS omit it
  const url = here === undefined ? undefined : new URL(`../../../${path}`, here)
  if (url !== undefined && existsSync(url)) return url
  throw new DatasoleError('PACKAGE_FILE_MISSING', `datasole: the package file ${path} is missing${url === undefined ? '' : ` at ${url.href}`}. ` +
    'If the server is bundled, leave datasole out of the bundle (esbuild: --external:datasole) and install it beside the bundle (docs/packaging.md). ' +
    'If not, the package is not built or is incomplete')
}

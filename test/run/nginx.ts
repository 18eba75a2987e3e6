import { type Need, onPath } from './need.js'

/** A proxy, which runs the configurations of the documents. */
export const nginx: Need = {
  name: 'nginx',
  variable: 'NGINX_PROGRAM',
  candidates: async () => [...await onPath('nginx'), '/usr/sbin/nginx'],
  provides: ['NGINX_PROGRAM'],
  versionArgs: ['-v'],
  debianPackage: 'nginx-light',
  isOptional: true,
  advice: 'Set NGINX_PROGRAM to a program nginx; or put it on the PATH; or, on Debian, run the tests as root: they install it by apt-get.',
  start: async (program) => ({ env: { NGINX_PROGRAM: program }, stop: async () => {} })
}

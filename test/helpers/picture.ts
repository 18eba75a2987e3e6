import { writeFile } from 'node:fs/promises'
import type { Browser } from 'playwright-core'

/** More pixels than the documents show; WebP, since the package holds it: a third of a PNG. */
const WIDTH = 1440

/** Writes a screenshot for the documents. */
export async function writePicture (browser: Browser, path: string, png: Buffer): Promise<void> {
  const page = await browser.newPage()
  const base64 = await page.evaluate(`(async () => {
    const image = new Image()
    image.src = 'data:image/png;base64,${png.toString('base64')}'
    await image.decode()
    const canvas = document.createElement('canvas')
    canvas.width = Math.min(${WIDTH}, image.width)
    canvas.height = Math.round(image.height * canvas.width / image.width)
    const context = canvas.getContext('2d')
    context.imageSmoothingQuality = 'high'
    context.drawImage(image, 0, 0, canvas.width, canvas.height)
    return canvas.toDataURL('image/webp', 0.8).split(',')[1]
  })()`)
  await page.close()
  await writeFile(path, Buffer.from(base64 as string, 'base64'))
}

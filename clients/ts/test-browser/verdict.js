// What has to hold on every usable path.

/** @returns one line for each thing that does not hold. */
export function wrong({ settles, within, late, resets = 0 }, figures) {
  const { settledOn, first, lost, told, twice, reordered, afterCut, links, back, complaints, heldUp = 0 } = figures
  // A machine that is busy with something else makes everything later, the client no worse.
  const limit = (ms) => Math.round(ms + heldUp)
  const rules = [
    [settles.includes(settledOn), `settled on ${settledOn}, not on ${settles.join(' or ')}`],
    [first !== null, 'no event arrived'],
    [lost === 0, `${lost} events lost without a reset`],
    [told === 0 || resets > 0, `${told} events lost to a reset that nothing called for`],
    [figures.resets <= resets, `${figures.resets} resets, at most ${resets} expected`],
    [twice === 0, `${twice} events delivered twice`],
    [reordered === 0, `${reordered} events out of order`],
    [!within || afterCut !== null, 'no event after a cut, or no cut'],
    [!within || afterCut <= limit(within), `first event ${afterCut} ms after a cut, ${limit(within)} ms allowed`],
    [!late || figures.longest <= limit(late), `an event came ${figures.longest} ms late, ${limit(late)} ms allowed`],
    [links <= 1, `${links} live links for more than 2 s`],
    [back !== null, 'not back on WebSocket once the obstacle was gone'],
    [complaints.length === 0, `exceptions in the page: ${complaints.join('; ')}`],
  ]
  return rules.filter(([holds]) => !holds).map(([, what]) => what)
}

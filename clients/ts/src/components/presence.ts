import { type Person, usePresence } from '@throughline/client/react'
import { createElement as h, useEffect, useState } from 'react'

const TICK_MS = 30_000

/** Props of {@link ReviewerPresence}. */
export interface ReviewerPresenceProps {
  /** Default: `presence:updates`. */
  topic?: string
  /** Shows these people in place of those present in `topic`. */
  reviewers?: readonly Person[]
  /** Makes the viewer present too, with this as what others see. */
  me?: { role?: string; currentFeature?: string } | null
  className?: string
}

/** Who is here, how, at what, and for how long. */
export function ReviewerPresence({
  topic = 'presence:updates',
  reviewers,
  me = null,
  className = '',
}: ReviewerPresenceProps) {
  const presence = usePresence(reviewers ? null : topic, { status: me ? 'online' : null, info: me ?? undefined })
  const people = reviewers ?? presence.members
  const now = useNow()
  return h(
    'section',
    { className: `tl-presence ${className}`.trim(), 'aria-label': 'Reviewers' },
    h('p', { role: 'status' }, people.length === 1 ? '1 reviewer here' : `${people.length || 'No'} reviewers here`),
    h(
      'ul',
      // Said again, because some readers take it from a list that shows no bullets.
      { role: 'list' },
      people.map(({ user, status, info, since }) => {
        const { role, currentFeature } = (info ?? {}) as { role?: string; currentFeature?: string }
        const minutes = since && now ? Math.max(0, Math.floor((now - Date.parse(since)) / 60_000)) : null
        const details = [
          role,
          status,
          currentFeature,
          minutes !== null && (minutes ? `${minutes} min` : 'just now'),
        ].filter(Boolean)
        return h(
          'li',
          { key: user, 'data-status': status },
          h('strong', null, user),
          h('span', { className: 'tl-details' }, ` ${details.join(' · ')}`),
        )
      }),
    ),
  )
}

/** The time, now and then; null on a server, whose clock a page does not share. */
function useNow(): number | null {
  const [now, setNow] = useState<number | null>(null)
  useEffect(() => {
    setNow(Date.now())
    const timer = setInterval(() => setNow(Date.now()), TICK_MS)
    return () => clearInterval(timer)
  }, [])
  return now
}

/**
 * The framework-free client: one resumable session over the best transport that the network lets
 * through.
 */
export { type Client, createClient } from './core/client.js'
export { type Command, CommandError } from './core/commands.js'
export type { ChannelLike, Env, LocksLike, PageLike, PageSignal, SocketLike, StorageLike } from './core/env.js'
export type { Phase, SwitchReason, Telemetry } from './core/ladder-types.js'
export type { ClientError, ClientOptions } from './core/options.js'
export type { Batch, Bye, EventMap, Hello, Reset, ThroughlineEvent, Transport } from './core/protocol.js'
export type { ClientState } from './core/state.js'
export type { Timing } from './core/timing.js'
export type { GetToken, TokenReason } from './core/token.js'
export type { Member, PresenceStatus, PublishOptions, Topic, TopicState } from './core/topic.js'

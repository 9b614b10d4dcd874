//! WebSocket, Server-Sent Events and long-polling over one session.

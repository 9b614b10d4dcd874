package main

import (
	"context"
	"io"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

type readWriter struct {
	io.Reader
	io.Writer
}

// `read-first`: reads what came with the answer to the handshake, which the second result of Dial holds.
func init() {
	drivers["ws/gobwas"] = func(url, token string, words []string) error {
		dialer := ws.Dialer{Protocols: protocols(token)}
		connection, buffered, _, err := dialer.Dial(context.Background(), url)
		if err != nil {
			return err
		}
		opened()
		var stream io.ReadWriter = connection
		if buffered != nil && has(words, "read-first") {
			stream = readWriter{buffered, connection}
		}
		for {
			text, err := wsutil.ReadServerText(stream)
			if err != nil {
				return err
			}
			message(string(text), "")
		}
	}
}

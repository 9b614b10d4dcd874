package main

import (
	"context"

	"github.com/coder/websocket"
)

func init() {
	drivers["ws/coder"] = func(url, token string, _ []string) error {
		connection, _, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{Subprotocols: protocols(token)})
		if err != nil {
			return err
		}
		opened()
		for {
			_, text, err := connection.Read(context.Background())
			if err != nil {
				return err
			}
			message(string(text), "")
		}
	}
}

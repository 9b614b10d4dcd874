package main

import "github.com/gorilla/websocket"

func init() {
	drivers["ws/gorilla"] = func(url, token string, _ []string) error {
		dialer := websocket.Dialer{Subprotocols: protocols(token)}
		connection, _, err := dialer.Dial(url, nil)
		if err != nil {
			return err
		}
		opened()
		for {
			_, text, err := connection.ReadMessage()
			if err != nil {
				return err
			}
			message(string(text), "")
		}
	}
}

package main

import "golang.org/x/net/websocket"

func init() {
	drivers["ws/xnet"] = func(url, token string, _ []string) error {
		configuration, err := websocket.NewConfig(url, "http://localhost/")
		if err != nil {
			return err
		}
		configuration.Protocol = protocols(token)
		connection, err := websocket.DialConfig(configuration)
		if err != nil {
			return err
		}
		opened()
		for {
			var text string
			if err := websocket.Message.Receive(connection, &text); err != nil {
				return err
			}
			message(text, "")
		}
	}
}

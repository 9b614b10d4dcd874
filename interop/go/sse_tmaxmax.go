package main

import (
	"net/http"

	"github.com/tmaxmax/go-sse"
)

func init() {
	drivers["sse/tmaxmax"] = func(url, _ string, _ []string) error {
		request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		connection := sse.NewConnection(request)
		connection.SubscribeToAll(func(event sse.Event) { message(event.Data, event.LastEventID) })
		return connection.Connect()
	}
}

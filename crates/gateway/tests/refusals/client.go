// Posts a body and reads the answer, as net/http does. Arguments: URL, bytes, times, status, then headers.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func post(client *http.Client, body []byte, status int) error {
	request, err := http.NewRequest("POST", os.Args[1], bytes.NewReader(body))
	if err != nil {
		return err
	}
	for _, header := range os.Args[5:] {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != status || !strings.Contains(string(text), fmt.Sprintf(`"status":%d`, status)) {
		return fmt.Errorf("%d %s", response.StatusCode, text)
	}
	return nil
}

func main() {
	size, _ := strconv.Atoi(os.Args[2])
	times, _ := strconv.Atoi(os.Args[3])
	status, _ := strconv.Atoi(os.Args[4])
	body := bytes.Repeat([]byte("x"), size)
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	heard, last := 0, ""
	for n := 0; n < times; n++ {
		if err := post(client, body, status); err != nil {
			last = err.Error()
		} else {
			heard++
		}
	}
	fmt.Printf("heard %d of %d %s\n", heard, times, last)
}

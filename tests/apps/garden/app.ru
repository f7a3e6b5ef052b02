# What it sees, under Puma. SEEN: the file to write it to.
run(lambda do |env|
  body = env['rack.input'].read.unpack1('H*')
  line = "#{env['REQUEST_METHOD']} #{env['REQUEST_URI']} #{body}".b
  File.open(ENV.fetch('SEEN'), 'ab') { |seen| seen.write(line, "\n") }
  [200, { 'Content-Length' => line.bytesize.to_s }, [line]]
end)

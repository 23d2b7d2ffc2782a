# A board that answers what it can and forwards the rest: the tools of the upstream server that
# `mcpgw bridge --upstream office=URL` knows as "office" appear as office_NAME. A call to
# office_log_reading may wait: while the upstream cannot be reached it is kept in flash, for an
# hour at most.

from mcp_gw import Gateway, Param

gw = Gateway("greenhouse", version="1.0")
gw.upstream("office", queueable=("log_reading",), expiry_s=3600)


@gw.tool("Soil moisture of one plot, percent", plot=Param(int, "plot number", min=0, max=2))
def moisture(plot):
    from machine import ADC

    return ADC(26 + plot).read_u16() * 100 // 65535


gw.run()
